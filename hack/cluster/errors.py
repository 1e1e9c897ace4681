"""What goes wrong is told in two lines: what happened, and what to do about it."""


class ClusterError(Exception):
    """A failure that the user can act on: printed without a traceback, exit status 1."""

    def __init__(self, message: str, hint: str = "") -> None:
        """`message` says what was wrong and where, `hint` what to do next."""
        super().__init__(message)
        self.hint = hint
