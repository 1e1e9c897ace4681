"""How fast the stores are, beside the tools that people would otherwise take: `python -m benchmarks.store --help`."""
