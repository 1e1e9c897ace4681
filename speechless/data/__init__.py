"""Training data: rows of many shapes as a stream of typed examples, every row checked, split by a seed. No torch."""

from speechless.data.dataset import Placed, Problems, Survey, read_rows, survey
from speechless.data.examples import Conversation, Example, Message, Preference, Prompt, Rated, Role, Text
from speechless.data.files import read_file
from speechless.data.formats import FLAGS, FORMATS, RowError, detect, read
from speechless.data.jsonl import Line, read_lines

__all__ = [
    "FLAGS",
    "FORMATS",
    "Conversation",
    "Example",
    "Line",
    "Message",
    "Placed",
    "Preference",
    "Problems",
    "Prompt",
    "Rated",
    "Role",
    "RowError",
    "Survey",
    "Text",
    "detect",
    "read",
    "read_file",
    "read_lines",
    "read_rows",
    "survey",
]
