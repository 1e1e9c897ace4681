"""How fast the operator is, and what it costs: `make bench-operator`."""
