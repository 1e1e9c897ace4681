"""The words of the tasks: a phrase, the Python that it means, and the meaning itself.

No phrase has a number to be filled in. A model of this size learns in minutes which words stand for which code, and how
they compose; whether it learns in that time to carry a number from a sentence to its place in the code depends on the
seed (docs/decisions.md, 14).

The meaning is a function of its own, so that expected answers never come from running the text they are to test.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Operation(NamedTuple):
    """One step of a task. `{e}` stands for the expression so far."""

    phrase: str
    code: str
    word: str
    """Its part of a describing function name."""
    meaning: Callable[[Any], Any]
    """value -> value"""

    def of(self, expression: str) -> str:
        """The code for a compound expression: in parentheses, but between those of a call, which needs no others."""
        return self.code.format(e=expression if self.code.endswith("({e})") else f"({expression})")


# Which numbers of a list are meant; the code is a condition on x.
FILTERS = {
    "all": Operation("numbers", "", "", lambda x: True),
    "even": Operation("even numbers", "x % 2 == 0", "even", lambda x: x % 2 == 0),
    "odd": Operation("odd numbers", "x % 2 == 1", "odd", lambda x: x % 2 == 1),
    "positive": Operation("positive numbers", "x > 0", "positive", lambda x: x > 0),
    "negative": Operation("negative numbers", "x < 0", "negative", lambda x: x < 0),
    "nonzero": Operation("numbers other than zero", "x != 0", "nonzero", lambda x: x != 0),
    "large": Operation("numbers above ten", "x > 10", "large", lambda x: x > 10),
    "small": Operation("numbers below ten", "x < 10", "small", lambda x: x < 10),
    "threes": Operation("multiples of three", "x % 3 == 0", "threes", lambda x: x % 3 == 0),
    "fives": Operation("multiples of five", "x % 5 == 0", "fives", lambda x: x % 5 == 0),
}

# What is done to each number of a list, or to a number alone.
STEPS = {
    "double": Operation("doubled", "{e} * 2", "double", lambda x: x * 2),
    "triple": Operation("tripled", "{e} * 3", "triple", lambda x: x * 3),
    "halve": Operation("halved", "{e} // 2", "halve", lambda x: x // 2),
    "square": Operation("squared", "{e} * {e}", "square", lambda x: x * x),
    "cube": Operation("cubed", "{e} ** 3", "cube", lambda x: x**3),
    "negate": Operation("negated", "-{e}", "negate", lambda x: -x),
    "increase": Operation("plus one", "{e} + 1", "increase", lambda x: x + 1),
    "decrease": Operation("minus one", "{e} - 1", "decrease", lambda x: x - 1),
    "digit": Operation("modulo ten", "{e} % 10", "digit", lambda x: x % 10),
    "size": Operation("without its sign", "abs({e})", "size", abs),
}
MAPS = {"same": Operation("", "{e}", "", lambda x: x), **STEPS}

# What is made of the list.
REDUCTIONS = {
    "list": Operation("list", "{e}", "", list),
    "sum": Operation("sum", "sum({e})", "sum", sum),
    "largest": Operation("largest", "max({e})", "largest", max),
    "smallest": Operation("smallest", "min({e})", "smallest", min),
    "count": Operation("count", "len({e})", "count", len),
    "sorted": Operation("sorted list", "sorted({e})", "sort", sorted),
    "reversed": Operation("reversed list", "{e}[::-1]", "reverse", lambda xs: xs[::-1]),
    "tuple": Operation("tuple", "tuple({e})", "tuple", tuple),
    "set": Operation("set", "set({e})", "set", set),
}
