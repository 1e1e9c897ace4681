"""Real training, generation, scoring, quantizing and serving with models of a few megabytes; see README.md."""
