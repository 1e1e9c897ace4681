"""Speechless: fine-tune, evaluate, quantize and serve language models; what is served has passed your evaluations.

Importing this package imports nothing heavy: torch and its kin are imported where they are used, and only then.
"""

__version__ = "0.11.0.dev0"
