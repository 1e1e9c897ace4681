"""The whole chain on this machine: fine-tune, evaluate, quantize, serve, and an answer."""
