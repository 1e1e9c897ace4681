"""Training data: JSON Lines read as a stream, every row checked, subset and split by a seed. No torch."""

from speechless.data.dataset import Problems, Survey, read_rows, survey
from speechless.data.jsonl import Line, read_lines
from speechless.data.rows import Row, detect_format, problem_of

__all__ = [
    "Line",
    "Problems",
    "Row",
    "Survey",
    "detect_format",
    "problem_of",
    "read_lines",
    "read_rows",
    "survey",
]
