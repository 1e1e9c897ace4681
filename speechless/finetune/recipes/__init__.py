"""How a model is trained: one recipe a file, read from top to bottom."""
