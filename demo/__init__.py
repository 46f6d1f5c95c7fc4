"""The connector at work: SMS into a DuckDB file, from the sandbox or a real account."""
