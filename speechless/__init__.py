"""Speechless: from a base model and a dataset to a served model whose quality is proven.

Importing this package imports nothing heavy: torch and its kin are imported where they are used, and only then.
"""

__version__ = "0.11.0.dev0"
