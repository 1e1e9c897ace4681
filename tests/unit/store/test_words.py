"""The one door from a word to a place on this machine: what is a path, what is a hub's, what a URI means here."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechless.api.server import main as api
from speechless.contract import FailureReason, storage
from speechless.data import places as data
from speechless.data.places import locate_data, places
from speechless.environment import DATA, caches
from speechless.errors import StageError
from speechless.finetune.flags import build_parser, parse
from speechless.store import hub, models, words
from speechless.store.cache import bytes_of, machine_cache
from speechless.store.models import locate_model
from tests.support.commands import status_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder, and beside it a folder of data."""
    for name in ("here", "data"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("SPEECHLESS_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "here"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What would be asked of a hub."""
    found: list[tuple[str, bool]] = []

    def download(name: hub.HubName, *, dataset: bool = False, split: bool = False) -> Path:
        found.append((str(name), dataset))
        return Path("snapshot")

    monkeypatch.setattr(hub, "download", download)
    return found


def test_a_file_uri_is_a_path(here: Path) -> None:
    model = here / "my model%"
    model.mkdir()
    place = locate_model(model.as_uri())
    assert (place.path, place.name, place.said) == (model, "my model%", str(model))
    assert place.beside("-GGUF") == here / "my model%-GGUF", "not a cache: beside it"
    assert locate_model("file:///nowhere/x").path == Path("/nowhere/x"), (
        "who opens it says that it is not there"
    )


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("ftp://x/y", "ftp://x/y has the scheme 'ftp'"),
        ("pvc://claim/model", "names the claim 'claim', which is not mounted"),
        ("file://x/y", "is not an absolute path"),
        ("s3://bucket/../x", "leads out of its place"),
    ],
)
@pytest.mark.parametrize("locate", [locate_model, locate_data])
def test_a_uri_that_means_no_place(locate: object, uri: str, said: str) -> None:
    with pytest.raises(StageError, match=said) as caught:
        locate(uri)  # type: ignore[operator]
    assert caught.value.reason is FailureReason.INVALID_SPEC


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://bucket/models/tiny", "tiny"),
        ("s3://bucket/models/tiny/", "tiny"),
        ("gs://bucket/m/tiny.Q8_0.gguf", "tiny.Q8_0.gguf"),
        ("hf://org/name@v1", "name"),
        ("hf://org/name@v1/sub/x.gguf", "x.gguf"),
        ("az://container", "container"),
    ],
)
def test_a_uri_has_a_short_name(uri: str, name: str) -> None:
    assert storage.check(uri).name == name
    place = locate_model(uri, needed=False)
    assert (place.name, place.said, place.cached) == (name, uri, True)
    assert place.beside("-merged") == Path(f"{name.removesuffix('.gguf')}-merged"), "not into the cache"


def test_a_list_mixes_paths_and_uris(here: Path, asked: list[tuple[str, bool]]) -> None:
    (here / "a.jsonl").touch()
    (DATA.folder() / "b.jsonl").touch()
    given = f"a.jsonl, b.jsonl,{(here / 'c d.jsonl').as_uri()},org/rows@v2,org/rows.jsonl,"
    assert places(given) == (
        Path("a.jsonl"), DATA.folder() / "b.jsonl", here / "c d.jsonl", Path("snapshot"), Path("org/rows.jsonl"),
    )  # fmt: skip
    assert asked == [("org/rows@v2", True)], "a name of a file of rows is a path"


def test_a_path_with_a_comma_is_itself(here: Path) -> None:
    (here / "a,b.jsonl").touch()
    assert places("a,b.jsonl") == (Path("a,b.jsonl"),)


def test_what_is_here_wins_over_a_hub(here: Path, asked: list[tuple[str, bool]]) -> None:
    (here / "org" / "rows").mkdir(parents=True)
    assert places("org/rows") == (Path("org/rows"),)
    (DATA.folder() / "org" / "more").mkdir(parents=True)
    assert places("org/more") == (DATA.folder() / "org" / "more",)
    assert asked == []
    assert locate_data("org/other").name == "other"
    assert locate_model("org/other").said == "org/other"
    assert asked == [("org/other", True), ("org/other", False)]


@pytest.mark.parametrize(
    ("word", "dataset", "uri"),
    [
        ("s3://bucket/x", True, "s3://bucket/x"),
        ("org/name@v1", False, "hf://org/name@v1"),
        ("org/name", True, "hf://datasets/org/name"),
        ("org/name@refs/pr/7", False, "hf://org/name@refs/pr/7"),
    ],
)
def test_the_uri_of_a_word(word: str, dataset: bool, uri: str) -> None:
    assert words.uri_of(word, dataset=dataset) == uri


def test_the_uri_of_a_path(here: Path) -> None:
    assert words.uri_of("rows.jsonl", dataset=True) == (here / "rows.jsonl").as_uri()
    assert words.uri_of("org/rows.jsonl", dataset=True) == (here / "org" / "rows.jsonl").as_uri()


def test_a_branch_with_a_slash_has_no_uri() -> None:
    with pytest.raises(StageError, match="what follows the revision's first slash is a path"):
        words.uri_of("org/name@feature/x")


def test_nothing_is_brought_while_flags_are_read() -> None:
    flags = parse(["--model_name_or_path", "s3://b-b/model", "--dataset", "s3://b-b/rows,hf://datasets/o/r"])
    assert (flags.model, flags.dataset) == ("s3://b-b/model", "s3://b-b/rows,hf://datasets/o/r")


def test_the_help_says_what_is_taken() -> None:
    text = " ".join(build_parser().format_help().split())
    assert "s3://<bucket>/<path>" in text
    assert all(row.example in models.TAKEN and row.example in data.TAKEN
               for row in storage.SCHEMES.values() if row.mounts is storage.Mount.NOTHING)  # fmt: skip
    assert "pvc://" not in models.TAKEN


def test_a_root_folder_for_a_uri_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(api, ["start", "--model", "s3://b-b/x", "--model_root_dir", "/models"]) == 2
    assert "--model_root_dir has no effect on s3://b-b/x" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------------- the cache


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("17", 17), ("50GB", 50 * 10**9), ("50 g", 50 * 10**9), ("1.5TB", 15 * 10**11), ("20GiB", 20 << 30)],
)  # fmt: skip
def test_a_size(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "many", "-1", "5 PB", "1e9", "GB", "5 GB free"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        bytes_of(text)


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPEECHLESS_CACHE_DIR", raising=False)
    monkeypatch.delenv("SPEECHLESS_CACHE_SIZE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert machine_cache().folder == caches() / "sources" == tmp_path / "caches" / "speechless" / "sources"
    assert machine_cache().limit() > 0, "a share of the disk"
    assert not (tmp_path / "caches").exists(), "looking makes nothing"
    monkeypatch.setenv("SPEECHLESS_CACHE_DIR", "~/elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SPEECHLESS_CACHE_SIZE", "5GB")
    assert (machine_cache().folder, machine_cache().limit()) == (tmp_path / "elsewhere", 5 * 10**9)
