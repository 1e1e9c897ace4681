"""The programs of hack/ that check the repository."""
