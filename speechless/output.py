"""What a command prints as its result: lines for people, or with `-o json` one document for programs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TextIO

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """The base of what `-o json` prints. A number that JSON does not have (NaN, infinity) is null.

    Some are read again from files: a field that a later version added is ignored.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Results:
    """Prints a result in the form that was asked for."""

    def __init__(self, document: TextIO | None) -> None:
        """`document`: where a document goes; None: lines are wanted."""
        self._document = document

    def show(self, document: Document, text: str = "") -> None:
        """Print the document, or else the text."""
        if self._document is not None:
            print(document.model_dump_json(indent=2), file=self._document, flush=True)
        elif text:
            print(text, flush=True)


@contextlib.contextmanager
def results(output: str) -> Iterator[Results]:
    """Open for the time of a command; `output`: the flag's value.

    With `json`, whatever else is printed meanwhile, by whom ever, goes to standard error. So a command prints its lines
    with `print` as always, and standard output holds one document, or nothing if the command failed.
    """
    if output != "json":
        yield Results(None)
        return
    document = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield Results(document)
