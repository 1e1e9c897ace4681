"""What the tests stand on is itself tested: rules of faults, waiting, discovery, names."""
