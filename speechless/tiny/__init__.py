"""Make a tiny real model and its tasks, from nothing, for demos and tests: it visibly learns within minutes on a CPU."""
