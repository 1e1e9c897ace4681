"""A model's word, where the model has to be there."""

import os
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import FailureReason
from speechless.data.places import places
from speechless.errors import StageError
from speechless.store.models import existing_model, locate_model


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


@pytest.mark.parametrize("find", [locate_model, places])
def test_what_is_no_file_and_no_folder_is_refused_before_it_is_read(find: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for word, said in (
        ("", "an empty word"),
        ("  ", "an empty word"),
        (str(tmp_path / "pipe.jsonl"), "neither a file"),
    ):
        with pytest.raises(StageError, match=said) as caught:
            find(word)
        assert caught.value.reason is FailureReason.INVALID_SPEC


def test_a_link_that_leads_to_itself_is_a_path_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert locate_model(tmp_path / "loop").name == "loop"
    with pytest.raises(StageError, match="no such model"):
        existing_model(tmp_path / "loop")
