"""Serve a model with OpenAI-compatible routes."""
