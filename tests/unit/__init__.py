"""Tests of pure functions and of the repository itself: seconds, no cluster."""
