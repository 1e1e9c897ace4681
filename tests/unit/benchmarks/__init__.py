"""The benchmark of the operator: its tables, its floor, its counting; not its figures."""
