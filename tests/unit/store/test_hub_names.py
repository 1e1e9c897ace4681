"""Which words name a repository of a hub, and which can only be paths."""

from pathlib import Path

import pytest

from speechless.contract import storage
from speechless.errors import StageError
from speechless.store import hub
from speechless.store.models import locate_model


@pytest.mark.parametrize(
    ("word", "repo", "revision"),
    [
        ("Qwen/Qwen2.5-Coder-0.5B", "Qwen/Qwen2.5-Coder-0.5B", None),
        ("org/name@v1.0", "org/name", "v1.0"),
        ("org/name@refs/pr/1", "org/name", "refs/pr/1"),
        ("hf://org/name@0123abc", "org/name", "0123abc"),
        ("hf:/org/name", "org/name", None),
    ],
)
def test_a_name_of_a_hub(word: str, repo: str, revision: str | None) -> None:
    assert hub.parse(word) == hub.HubName(repo, revision)


@pytest.mark.parametrize(
    "word",
    [
        "tiny",
        "./tiny",
        "../org/name",
        "/models/tiny",
        "a/b/c",
        "org/",
        "/name",
        "org/name@",
        "org/na me",
        "org/..",
        "~/m",
    ],
)
def test_what_can_only_be_a_path(word: str) -> None:
    assert hub.parse(word) is None


def test_what_is_here_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    place = locate_model("org/name")
    assert (place.path, place.name, place.cached) == (Path("org/name"), "name", False)
    assert place.beside("-GGUF") == tmp_path / "org" / "name-GGUF"


def test_a_name_that_is_not_needed_is_not_downloaded() -> None:
    place = locate_model("org/name@v1", needed=False)
    assert (place.name, place.said) == ("name", "org/name@v1")
    assert place.beside("-merged") == Path("name-merged")


@pytest.mark.parametrize(
    ("uri", "repo", "revision", "dataset", "path"),
    [
        ("hf://org/name", "org/name", None, False, ""),
        ("hf://org/name@v1.0", "org/name", "v1.0", False, ""),
        ("hf://org/name@main/sub/model-q8_0.gguf", "org/name", "main", False, "sub/model-q8_0.gguf"),
        ("hf://datasets/org/rows@v2/data", "org/rows", "v2", True, "data"),
        ("hf://datasets/name", "datasets/name", None, False, ""),
        ("hf://org/name@refs/pr/7", "org/name", "refs/pr/7", False, ""),
        ("hf://datasets/o/rows@refs/convert/parquet/x/train", "o/rows", "refs/convert/parquet", True, "x/train"),
    ],
)  # fmt: skip
def test_a_uri_means_a_repository(
    uri: str, repo: str, revision: str | None, dataset: bool, path: str
) -> None:
    assert hub.place_of(uri) == hub.HubPlace(hub.HubName(repo, revision), dataset, path)


@pytest.mark.parametrize(
    "uri", ["hf://org", "hf://org/", "hf://org/a b", "hf://org/name@", "hf://-x/name", "hf:///x/y"]
)
def test_a_uri_that_means_none_says_what_to_write(uri: str) -> None:
    with pytest.raises(storage.UriError, match="hf://<organization>/<name>@<revision>"):
        hub.place_of(uri)


@pytest.mark.parametrize("act", ["find", "prepare", "publish", "checkpoints"])
def test_nothing_is_published_on_a_hub(act: str, tmp_path: Path) -> None:
    store = hub.HubStore({})
    more = {"publish": (tmp_path, "hf://org/name", {}), "checkpoints": ("hf://org/name", tmp_path)}
    with pytest.raises(StageError, match="artifacts cannot be published there") as caught:
        getattr(store, act)(*more.get(act, ("hf://org/name",)))
    assert "s3://<bucket>/<path>" in (caught.value.hint or "")
