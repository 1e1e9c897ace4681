"""What the library and the operator share."""
