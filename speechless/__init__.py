"""Speechless: fine-tune, evaluate, quantize and serve large language models.

Importing this package imports nothing heavy: torch and its kin are imported where they are used, and only then.
"""

import sys

__version__ = "0.11.0.dev0"

# `python -m speechless.X` imports this package first. Until X is found, sys.argv begins with "-m".
if sys.argv[:1] == ["-m"]:
    from speechless.entry import refuse_library_module

    refuse_library_module(sys.orig_argv[-len(sys.argv)])
