"""The stores that are not on this machine, each against a real server of its kind."""
