"""How fast the connector is beside other ways to read the same SMS: `python -m benchmarks`."""
