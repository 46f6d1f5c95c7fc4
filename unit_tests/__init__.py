"""Each module by itself, without network."""
