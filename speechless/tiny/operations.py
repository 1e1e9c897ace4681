"""The words of the tasks: a phrase, the Python that it means, and the meaning itself.

The meaning is a function of its own, so that expected answers never come from running the text they are to test.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Operation(NamedTuple):
    """One step of a task. `{k}` stands for a constant, `{e}` for the expression so far."""

    phrase: str
    code: str
    word: str
    """Its part of a describing function name."""
    meaning: Callable[[Any, int], Any]
    """(value, constant) -> value"""


# Which numbers of a list are meant; the code is a condition on x.
FILTERS = {
    "all": Operation("numbers", "", "", lambda x, k: True),
    "even": Operation("even numbers", "x % 2 == 0", "even", lambda x, k: x % 2 == 0),
    "odd": Operation("odd numbers", "x % 2 == 1", "odd", lambda x, k: x % 2 == 1),
    "positive": Operation("positive numbers", "x > 0", "positive", lambda x, k: x > 0),
    "negative": Operation("negative numbers", "x < 0", "negative", lambda x, k: x < 0),
    "greater": Operation("numbers greater than {k}", "x > {k}", "large", lambda x, k: x > k),
    "less": Operation("numbers less than {k}", "x < {k}", "small", lambda x, k: x < k),
    "divisible": Operation("numbers divisible by {k}", "x % {k} == 0", "divisible", lambda x, k: x % k == 0),
}

# What is done to each number of a list.
MAPS = {
    "same": Operation("", "x", "", lambda x, k: x),
    "plus": Operation("each plus {k}", "x + {k}", "add", lambda x, k: x + k),
    "minus": Operation("each minus {k}", "x - {k}", "subtract", lambda x, k: x - k),
    "times": Operation("each times {k}", "x * {k}", "multiply", lambda x, k: x * k),
    "squared": Operation("each squared", "x * x", "square", lambda x, k: x * x),
    "negated": Operation("each negated", "-x", "negate", lambda x, k: -x),
    "modulo": Operation("each modulo {k}", "x % {k}", "modulo", lambda x, k: x % k),
}

# What is made of the list.
REDUCTIONS = {
    "list": Operation("list", "{e}", "", lambda xs, k: list(xs)),
    "sum": Operation("sum", "sum({e})", "sum", lambda xs, k: sum(xs)),
    "largest": Operation("largest", "max({e})", "largest", lambda xs, k: max(xs)),
    "smallest": Operation("smallest", "min({e})", "smallest", lambda xs, k: min(xs)),
    "count": Operation("count", "len({e})", "count", lambda xs, k: len(xs)),
    "sorted": Operation("sorted list", "sorted({e})", "sort", lambda xs, k: sorted(xs)),
    "reversed": Operation("reversed list", "{e}[::-1]", "reverse", lambda xs, k: xs[::-1]),
}

# What is done to a number.
STEPS = {
    "plus": Operation("plus {k}", "{e} + {k}", "add", lambda x, k: x + k),
    "minus": Operation("minus {k}", "{e} - {k}", "subtract", lambda x, k: x - k),
    "times": Operation("times {k}", "{e} * {k}", "multiply", lambda x, k: x * k),
    "divided": Operation("divided by {k}", "{e} // {k}", "divide", lambda x, k: x // k),
    "modulo": Operation("modulo {k}", "{e} % {k}", "modulo", lambda x, k: x % k),
    "squared": Operation("squared", "{e} ** 2", "square", lambda x, k: x**2),
}

CONSTANTS = range(2, 10)
