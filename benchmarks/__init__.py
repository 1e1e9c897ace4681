"""Measurements that are too long for a test; see README.md."""
