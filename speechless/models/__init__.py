"""What a model's files say of it, read without loading it: headers and small files, no torch."""

from speechless.models.check import check
from speechless.models.info import READERS, read_info

__all__ = ["READERS", "check", "read_info"]
