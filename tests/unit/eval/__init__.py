"""The eval package without a model: problems, prompts, scores, reports, and the sandbox for real."""
