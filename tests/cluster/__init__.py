"""The cluster program, tried as a user would break it."""
