"""How fast a model is trained and in how much memory, beside a plain TRL script of the same settings."""
