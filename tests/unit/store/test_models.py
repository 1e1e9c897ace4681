"""A model's word, where the model has to be there."""

from pathlib import Path

import pytest

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.store.models import existing_model


def test_a_model_that_is_not_there_is_told_with_what_may_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_ROOT_DIR", str(tmp_path))
    (tmp_path / "one").mkdir()
    assert existing_model("one").path == tmp_path / "one"
    with pytest.raises(StageError, match=r"two: no such model") as caught:
        existing_model(tmp_path / "two")
    assert caught.value.reason is FailureReason.INPUT_NOT_FOUND
    assert "looked for in $MODELS_ROOT_DIR" in caught.value.hint
