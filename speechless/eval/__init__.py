"""Evaluate a model: generate answers to a benchmark's tasks and score them."""
