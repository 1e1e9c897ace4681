"""Runs of a file's rows, and folders that are read as they always were: without `datasets`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechless.contract import FailureReason
from speechless.data import read_rows, survey
from speechless.data.check import check
from speechless.data.files import Part
from speechless.data.places import part_of
from speechless.data.splits import chosen, is_hub_dataset, one_file
from speechless.errors import StageError
from speechless.store.words import DataPart


def rows(folder: Path, count: int = 6) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"{n}", "completion": "x"}) + "\n" for n in range(count)))
    return file


def test_a_run_of_rows_is_read_and_told_by_its_own_lines(tmp_path: Path) -> None:
    file = rows(tmp_path)
    found = survey([Part(file, 1, 3), Part(file, 5)], seed=1)
    assert [placed.where for placed in read_rows(found, heldout=False)] == [
        "train.jsonl:2", "train.jsonl:3", "train.jsonl:6",
    ]  # fmt: skip
    assert check([Part(file, 4)])[0].rows == 2


@pytest.mark.parametrize(
    ("folder", "card", "expected"),
    [
        ("mine", None, False),
        ("mine", "# About\n---\n", False),
        ("mine", "---\nlicense: mit\n---\n", True),
        ("hub/datasets--o--n/snapshots/0123", None, True),
        ("hub/datasets--o--n/snapshots/0123/data", None, True),
        ("hub/models--o--n/snapshots/0123", None, False),
    ],
)
def test_what_is_a_dataset_of_a_hub(tmp_path: Path, folder: str, card: str | None, expected: bool) -> None:
    place = tmp_path / folder
    place.mkdir(parents=True)
    if card is not None:
        (place / "README.md").write_text(card)
    assert is_hub_dataset(place) is expected


def test_without_a_part_a_folder_and_a_file_are_what_they_were(tmp_path: Path) -> None:
    file = rows(tmp_path / "mine")
    (tmp_path / "mine" / "test.jsonl").write_text(file.read_text())
    for place in (file, tmp_path / "mine", tmp_path / "nothing"):
        assert chosen(place, DataPart(), "mine") == (place,)
        assert one_file(place, DataPart(), "mine", tmp_path / "out", text=False) == place
    assert not (tmp_path / "out").exists()


def test_a_file_has_no_parts(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="mine: a file has no configurations and splits") as caught:
        chosen(rows(tmp_path), DataPart("main"), "mine")
    assert caught.value.reason is FailureReason.DATASET_INVALID


def test_flags_that_name_nothing_and_flags_that_cannot() -> None:
    assert part_of(None, "") == DataPart()
    assert part_of("main", "train[:10%]") == DataPart("main", "train[:10%]")
    with pytest.raises(StageError, match=r"--dataset_split: a/b can be none"):
        part_of(None, "a/b")
    with pytest.raises(StageError, match=r"--dataset_config: a/b can be none"):
        part_of("a/b", None)
