"""The commands as processes, against the sandbox."""
