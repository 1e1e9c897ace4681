"""Which checkpoint is taken up, and which are removed."""

from pathlib import Path

import pytest

from speechless.store import FolderCheckpoints


def checkpoint(folder: Path, step: int, *, fingerprint: str | None = "me") -> Path:
    """A checkpoint of two files; without a fingerprint: one that was not written to the end."""
    path = folder / f"checkpoint-{step}"
    (path / "sub").mkdir(parents=True)
    (path / "model").write_text("weights")
    (path / "sub" / "state").write_text("state")
    if fingerprint:
        FolderCheckpoints(folder).save(step, fingerprint)
    return path


def test_the_highest_whole_one_is_taken_up(tmp_path: Path) -> None:
    for step in (5, 100, 20):
        checkpoint(tmp_path, step)
    found = FolderCheckpoints(tmp_path).newest("me")
    assert found
    assert (found.step, found.path.name) == (100, "checkpoint-100")


def test_there_may_be_none(tmp_path: Path) -> None:
    assert FolderCheckpoints(tmp_path).newest("me") is None
    assert FolderCheckpoints(tmp_path / "nothing").newest("me") is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("unsealed", "not written to the end"),
        ("other", "of other settings"),
        ("truncated", "model is missing or has another size"),
        ("incomplete", "sub/state is missing"),
        ("garbled", "cannot be read"),
    ],
)
def test_one_that_is_not_whole_is_passed_over(
    tmp_path: Path, name: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint(tmp_path, 1)
    path = checkpoint(tmp_path, 2, fingerprint={"unsealed": None, "other": "you"}.get(name, "me"))
    if name == "truncated":
        (path / "model").write_text("weight")
    if name == "incomplete":
        (path / "sub" / "state").unlink()
    if name == "garbled":
        (path / "complete.json").write_text("{")
    found = FolderCheckpoints(tmp_path).newest("me")
    assert found
    assert found.step == 1
    assert why in caplog.text


def test_pruning_keeps_the_newest_whole_ones(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        checkpoint(tmp_path, step)
    checkpoint(tmp_path, 5, fingerprint=None)
    checkpoint(tmp_path, 6, fingerprint="you")
    (tmp_path / "checkpoint-best").mkdir()
    FolderCheckpoints(tmp_path).prune(2, "me")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("checkpoint-3", "checkpoint-4"),
        "checkpoint-5",  # not whole: it may be the result of another program
        "checkpoint-6",
        "checkpoint-best",
    ]


def test_pruning_spares_a_step_that_is_named(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        checkpoint(tmp_path, step)
    FolderCheckpoints(tmp_path).prune(1, "me", {2, 4, 7})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-4"]
    found = FolderCheckpoints(tmp_path).take(2, "me")
    assert found
    assert found.path == tmp_path / "checkpoint-2"
    assert FolderCheckpoints(tmp_path).take(3, "me") is None
    assert FolderCheckpoints(tmp_path).take(2, "you") is None


def test_clearing_removes_all_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "out.checkpoints"
    checkpoint(folder, 1)
    FolderCheckpoints(folder).clear()
    FolderCheckpoints(folder).clear()
    assert list(tmp_path.iterdir()) == []
