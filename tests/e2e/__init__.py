"""Against a real cluster with a node: images are built and pods run."""
