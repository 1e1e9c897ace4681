"""The one exception for what a user, a store or the data can be at fault for: a reason, what is wrong, what to do."""

import re
import shutil

from speechless.contract import ExitCode, FailureReason


class StageError(Exception):
    """Work that cannot go on. `str()` is the message; the exit status follows from the reason.

    Raise it where the cause is known: the message names the file and line, field or object at fault, the hint says
    what to do. Anything else that escapes a stage is an error of Speechless itself (`FailureReason.INTERNAL_ERROR`).
    """

    def __init__(self, reason: FailureReason, message: str, hint: str = "") -> None:
        """Take the reason, what is wrong and where, and what to do about it."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint

    @property
    def exit_code(self) -> ExitCode:
        """The exit status that goes with the reason."""
        return self.reason.exit_code


def words_of(error: Exception) -> str:
    """What an exception says; of the system's: the file and the cause, without its number.

    >>> words_of(FileNotFoundError(2, "No such file or directory", "rows.jsonl"))
    'rows.jsonl: No such file or directory'
    >>> words_of(shutil.Error([("a/x", "b/x", "[Errno 28] No space left on device: 'a/x' -> 'b/x'")]))
    'b/x: No space left on device'
    """
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        # Of a folder's copy: each file that failed, with the text of its error.
        _, target, why = error.args[0][0]
        return f"{target}: {re.sub(r'^.Errno [0-9]+. |: .*', '', str(why))}"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)
