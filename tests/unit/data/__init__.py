"""Training rows: what is read, what is refused, and which rows are chosen."""
