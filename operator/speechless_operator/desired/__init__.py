"""Pure builders, one file a child kind: what the cluster should hold for a resource."""
