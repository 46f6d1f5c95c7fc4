"""Asks a real account, or a sandbox, what the connector relies on: see docs/contract.md."""
