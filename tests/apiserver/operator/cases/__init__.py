"""Reports of faults in other operators, tried on this one: a file a report, widened to its kind. See `tests/cases`."""
