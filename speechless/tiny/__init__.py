"""Make a tiny real model and its tasks, from nothing, for demos and tests: it learns within minutes on a CPU."""
