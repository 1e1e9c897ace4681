"""The frame of every stage, without a model: fetch, reuse, failures, signals, HTTP."""
