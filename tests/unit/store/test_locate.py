"""URIs to paths, and what leads out of a claim."""

from pathlib import Path

import pytest

from speechless.contract import FailureReason, Source
from speechless.errors import StageError
from speechless.store import Access, store_for
from speechless.store.locate import locate
from tests.unit.store import NOWHERE

MOUNTS = {"models": "/mnt/models"}


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///data/rows.jsonl", "/data/rows.jsonl"),
        ("file:///data/with%20space", "/data/with space"),
        ("file:///", "/"),
        ("pvc://models/a/b", "/mnt/models/a/b"),
        ("pvc://models/", "/mnt/models"),
        ("pvc://models", "/mnt/models"),
        ("pvc://models//a/./b", "/mnt/models/a/b"),
        ("pvc://models/$(reboot);`x`", "/mnt/models/$(reboot);`x`"),
    ],
)
def test_a_uri_means_a_path(uri: str, path: str) -> None:
    assert locate(uri, MOUNTS).path == Path(path)


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("pvc://other/a", "claim 'other', which is not mounted"),
        ("pvc://models/../etc/passwd", "leads out"),
        ("pvc://models/%2e%2e/etc", "leads out"),
        ("pvc://models/a%2F..%2F..%2Fb", "leads out"),
        ("file://host/a", "not an absolute path"),
        ("file://data", "not an absolute path"),
        ("ftp://host/a", "scheme 'ftp'"),
        ("pvc://models/a?b", "query"),
    ],
)
def test_a_uri_that_means_none_is_an_invalid_spec(uri: str, what: str) -> None:
    with pytest.raises(StageError, match=what) as caught:
        locate(uri, MOUNTS)
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert caught.value.hint


@pytest.fixture
def claim(tmp_path: Path) -> dict[str, str]:
    """A claim with a secret beside it."""
    (tmp_path / "claim").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("k")
    return {"c": str(tmp_path / "claim")}


def test_a_link_out_of_the_claim_is_refused(claim: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "claim" / "link").symlink_to(tmp_path / "secret")
    for uri in ("pvc://c/link", "pvc://c/link/key"):
        with pytest.raises(StageError, match="out of the claim") as caught:
            store_for(uri, Access(claim)).open(Source(uri=uri), NOWHERE)
        assert caught.value.reason is FailureReason.INPUT_FORBIDDEN


def test_a_link_in_a_folder_that_leads_out_of_it_is_refused(claim: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "claim" / "data"
    folder.mkdir()
    (folder / "key").symlink_to(tmp_path / "secret" / "key")
    with pytest.raises(StageError, match="leads out of the folder"):
        store_for("pvc://c/data", Access(claim)).open(Source(uri="pvc://c/data"), NOWHERE)


def test_a_link_inside_is_the_file_it_means(claim: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "claim" / "data"
    folder.mkdir()
    (folder / "real").write_text("same")
    (folder / "name").symlink_to("real")
    opened = store_for("pvc://c/data", Access(claim)).open(Source(uri="pvc://c/data"), NOWHERE)
    (folder / "name").unlink()
    (folder / "name").write_text("same")
    assert (
        store_for("pvc://c/data", Access(claim)).open(Source(uri="pvc://c/data"), NOWHERE).digest
        == opened.digest
    )


def test_nothing_can_be_published_through_a_link_out_of_the_claim(
    claim: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "claim" / "out").symlink_to(tmp_path / "secret")
    with pytest.raises(StageError, match="out of the claim"):
        store_for("pvc://c/out/x", Access(claim)).prepare("pvc://c/out/x")
    assert sorted(path.name for path in (tmp_path / "secret").iterdir()) == ["key"]
