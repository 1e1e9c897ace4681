"""What a model's files say of it, read without loading it: headers and small files, no torch."""

from speechless.models.check import check
from speechless.models.huggingface import context_of, positions_are_a_table
from speechless.models.info import READERS, read_info

__all__ = ["READERS", "check", "context_of", "positions_are_a_table", "read_info"]
