"""May a model be loaded for some work? One answer for training, generating and serving, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from speechless.contract import FailureReason, Format
from speechless.contract.needs import Need, Problem
from speechless.errors import StageError
from speechless.models import weights
from speechless.models.info import read_info


def check(path: Path, form: Format, need: Need) -> None:
    """Refuse what `need` does not take, and of a Hugging Face folder weights that are torn, missing or pickled.

    StageError(MODEL_INVALID) in one line, by headers and small files. `path`: as of `read_info`.
    """
    _refuse(path, need.problem_of(form, None))
    if form is Format.HUGGING_FACE:
        weights.refuse_adapter(path)
        weights.refuse_other(path)
        weights.read_headers(path)
    _refuse(path, need.problem_of(form, read_info(path, form)))


def _refuse(path: Path, problem: Problem | None) -> None:
    if problem:
        raise StageError(FailureReason.MODEL_INVALID, f"{path.name}: {problem.what}", problem.hint)
