"""Does a model fit the work? Told before anything is loaded, by what its manifest or its files say of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from speechless.contract import FailureReason, Format, Manifest, ModelInfo
from speechless.contract.needs import Problem
from speechless.errors import StageError
from speechless.models import positions_are_a_table, read_info
from speechless.store.formats import format_of

log = logging.getLogger(__name__)


Judge = Callable[[Format, ModelInfo | None], Problem | None]
"""Why a model does not fit some work, if it does not: `Need.problem_of` of a row in `contract.needs`, for one."""


def check_model(
    path: Path, said: str, judge: Judge, *, manifest: Manifest | None = None, tokens: int | None = None
) -> ModelInfo | None:
    """Refuse a model that does not fit, and return what is known of it. `said` is its name in messages.

    What is known stands in its manifest, or else in its files. `tokens`: how long a row may be; that the model was
    trained for less is told in the log, where it can read more. A path that is not there is left to whoever reads it.
    StageError(MODEL_INVALID): it does not fit, nothing tells its format, or a file is not what its name says.
    """
    if not path.exists():
        return None
    form = manifest.format if manifest else format_of(path)
    _refuse(said, judge(form, None))
    info = (manifest.model if manifest else None) or read_info(path, form)
    _refuse(said, judge(form, info))
    limit = info.context_length if info else None
    if tokens and limit and tokens > limit and not positions_are_a_table(path):
        words = (said, limit, tokens)
        log.warning(
            "%s was trained for rows of %d tokens; of longer ones, up to %d, it may learn little: "
            "its positions are not scaled unless ropeScaling asks for it",
            *words,
        )
    return info


def _refuse(said: str, problem: Problem | None) -> None:
    if problem:
        raise StageError(FailureReason.MODEL_INVALID, f"{said}: {problem.what}", problem.hint)


def described(path: Path, form: Format) -> ModelInfo | None:
    """What is known of what is to be published. A file that is broken is told in the log: it is published as it is."""
    try:
        return read_info(path, form)
    except StageError as problem:
        log.warning("nothing is known of the model: %s", problem.message)
        return None
