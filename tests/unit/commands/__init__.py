"""The documents: every command is placed, checked, and run where that is cheap; each check is shown a bad example."""
