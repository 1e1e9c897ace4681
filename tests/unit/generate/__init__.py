"""The generate package without a model: stop strings, files, GGUF headers, tools, endpoints."""
