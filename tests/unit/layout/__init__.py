"""Is the repository as its own rules say? Each rule is a function over given input, shown to catch a bad example."""
