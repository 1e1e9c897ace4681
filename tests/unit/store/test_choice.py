"""Which names patterns choose: as the hub's client has it."""

from __future__ import annotations

import pytest

from speechless.contract import FailureReason, FileEntry, Format, Manifest, tree_digest
from speechless.errors import StageError
from speechless.store.choice import ALL, Choice, check_choice
from speechless.store.hub import HubName, HubPlace, _wanted_of
from speechless.store.manifest import part_of

NAMES = ["README.md", "config.json", "model.safetensors", "original/params.json", "original/weights.pth"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), NAMES),
        (("*.json",), (), ["config.json", "original/params.json"]),
        (("*.json",), ("original/*",), ["config.json"]),
        ((), ("original/",), NAMES[:3]),
        (("original/",), ("*.pth",), ["original/params.json"]),
        (("config.[jx]son", "READ??.md"), (), ["README.md", "config.json"]),
        (("CONFIG.json",), (), []),
    ],
)
def test_names_that_are_chosen(
    include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    choice = Choice(include, exclude)
    assert [name for name in NAMES if choice.takes(name)] == expected
    assert bool(choice) == bool(include or exclude)


def test_nothing_is_told_with_what_is_there() -> None:
    with pytest.raises(StageError) as caught:
        Choice(("*.gguf",)).chosen("s3://b/x", [f"{n:02}.json" for n in range(11)])
    assert caught.value.reason is FailureReason.INPUT_NOT_FOUND
    assert caught.value.message == (
        "s3://b/x: include *.gguf chooses none of 11 files: 00.json, 01.json, 02.json, 03.json, 04.json, 05.json, "
        "06.json, 07.json and 3 more"
    )


def test_where_no_part_can_be_read() -> None:
    check_choice("file:///x", ALL)
    check_choice("s3://bucket/x", Choice(("*",)))
    with pytest.raises(StageError, match="file:// is read where it is") as caught:
        check_choice("file:///x", Choice((), ("*",)))
    assert caught.value.reason is FailureReason.INVALID_SPEC


def test_a_manifest_says_the_digest_of_a_part() -> None:
    files = tuple(FileEntry(path=name, size=1, sha256=f"{at}" * 64) for at, name in enumerate(NAMES))
    whole = Manifest(files=files, digest=tree_digest(files), format=Format.HUGGING_FACE)
    assert part_of(whole, ALL) is whole
    part = part_of(whole, Choice(("*.json",)))
    assert [entry.path for entry in part.files] == ["config.json", "original/params.json"]
    assert part.digest == tree_digest(part.files)
    torn = whole.model_copy(update={"digest": "sha256:" + "0" * 64})
    with pytest.raises(StageError, match="its digest is not that of the files"):
        part_of(torn, Choice(("*.json",)))


HUB = [
    "config.json",
    "m.safetensors",
    "m.gguf",
    "pytorch_model.bin",
    "original/a.json",
    "sub/b.json",
    "sub/c.py",
]


@pytest.mark.parametrize(
    ("path", "dataset", "choice", "expected"),
    [
        ("", False, ALL, ["config.json", "m.safetensors", "sub/b.json", "sub/c.py"]),
        ("", False, Choice(("*.gguf",)), ["m.gguf"]),
        ("", False, Choice(("original/*", "*.bin")), ["original/a.json"]),
        ("", False, Choice((), ("sub/*",)), ["config.json", "m.safetensors"]),
        ("sub", False, Choice(("*.json",)), ["sub/b.json"]),
        ("sub", False, Choice(("sub/*",)), []),
        ("sub", True, ALL, ["sub/b.json"]),
        ("sub/b.json", False, Choice(("b.*",)), ["sub/b.json"]),
    ],
)
def test_what_of_a_hubs_repository_is_read(
    path: str, dataset: bool, choice: Choice, expected: list[str]
) -> None:
    """Pickles and a dataset's scripts never, also where they are asked for; names count from the address."""
    assert _wanted_of(HubPlace(HubName("o/n", None), dataset, path), choice, HUB) == expected
