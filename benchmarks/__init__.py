"""The same load on this server, on the official one and on others: see `python -m benchmarks --help`."""
