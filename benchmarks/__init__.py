"""Measures what `docs/performance.md` says: a command a table, whose result is JSON."""
