"""The operator's pure parts, and its queue, cache and clockwork, without a cluster."""
