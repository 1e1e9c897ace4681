"""How progress is counted and told."""
