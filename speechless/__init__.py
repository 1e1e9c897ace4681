"""Speechless: fine-tune, evaluate, quantize and serve large language models.

Importing this package imports nothing heavy: torch and its kin are imported where they are used, and only then.
"""

__version__ = "0.11.0.dev0"
