"""Quantize a model: make it smaller, and measure what it lost."""
