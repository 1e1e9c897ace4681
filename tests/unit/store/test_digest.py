"""Digests and their verification, against sha256sum's own result and hand-made damage."""

import hashlib
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import FailureReason, Format, Manifest, Source, tree_digest
from speechless.errors import StageError
from speechless.store import digest, digest_tree, store_for, verify
from speechless.store.digest import files_below, hash_file
from tests.unit.store import NOWHERE


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder of three files, one in a folder of its own, one with a name that needs care."""
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"alpha")
    (folder / "sub" / "ü b.bin").write_bytes(bytes(range(256)) * 100)
    (folder / "empty").write_bytes(b"")
    return folder


def manifest_of(folder: Path) -> Manifest:
    digest, files = digest_tree(folder)
    return Manifest(format=Format.DATASET, digest=digest, files=files)


def test_the_digest_is_that_of_sha256sums_listing(tree: Path) -> None:
    names = sorted(
        (str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()),
        key=lambda name: name.encode(),
    )
    listing = subprocess.run(
        ["sha256sum", *names], cwd=tree, check=True, capture_output=True, text=True
    ).stdout
    sums = [line.split()[0] for line in listing.splitlines()]
    lines = "".join(
        f"{digest}  {(tree / name).stat().st_size}  {name}\n"
        for digest, name in zip(sums, names, strict=True)
    )
    assert digest_tree(tree)[0] == "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def test_times_and_places_do_not_matter(tree: Path, tmp_path: Path) -> None:
    before = digest_tree(tree)[0]
    os.utime(tree / "a.txt", (0, 0))
    assert digest_tree(tree.rename(tmp_path / "moved"))[0] == before


def test_the_manifest_is_no_part_of_the_digest(tree: Path) -> None:
    before = digest_tree(tree)[0]
    (tree / "speechless.json").write_text("{}")
    assert digest_tree(tree)[0] == before


def test_what_tools_keep_for_themselves_is_no_part_of_the_digest(tree: Path) -> None:
    before = digest_tree(tree)[0]
    for name in (".git/config", ".cache/huggingface/download/a.txt.metadata", "sub/.git", "lost+found/x"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("by a tool")
    assert digest_tree(tree)[0] == before
    verify(tree, manifest_of(tree))
    (tree / ".gitattributes").write_text("a file of the repository")
    assert digest_tree(tree)[0] != before


def test_an_artifact_of_an_earlier_version_that_has_such_files_is_verified_with_them(tree: Path) -> None:
    (tree / ".cache").mkdir()
    (tree / ".cache" / "stamp").write_text("x")
    entries = tuple(hash_file(path, name) for name, path in files_below(tree, everything=True))
    manifest = Manifest(format=Format.DATASET, digest=tree_digest(entries), files=entries)
    verify(tree, manifest)
    (tree / ".cache" / "stamp").write_text("y")
    with pytest.raises(StageError, match=r"\.cache/stamp: sha256"):
        verify(tree, manifest)


def test_a_snapshot_of_a_hub_cache_is_read_through_its_links(tree: Path, tmp_path: Path) -> None:
    hub = tmp_path / "models--org--name"
    snapshot = hub / "snapshots" / "0123abc"
    (snapshot / "sub").mkdir(parents=True)
    (hub / "blobs").mkdir()
    for number, name in enumerate(("a.txt", "sub/ü b.bin", "empty")):
        blob = hub / "blobs" / str(number)
        blob.write_bytes((tree / name).read_bytes())
        link = snapshot / name
        link.symlink_to(os.path.relpath(blob, link.parent))
    assert digest_tree(snapshot)[0] == digest_tree(tree)[0]
    (hub / "secret").write_text("s")
    (snapshot / "stolen").symlink_to("../../secret")
    with pytest.raises(StageError, match="'stolen' is a symbolic link that leads out of the folder"):
        digest_tree(snapshot)


def test_blobs_that_are_themselves_elsewhere_are_none(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "0").write_text("s")
    snapshot = tmp_path / "models--org--name" / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--org--name" / "blobs").symlink_to(elsewhere)
    (snapshot / "a.txt").symlink_to("../../blobs/0")
    with pytest.raises(StageError, match="leads out of the folder"):
        digest_tree(snapshot)


def test_a_single_file_has_a_digest(tree: Path) -> None:
    digest, files = digest_tree(tree / "a.txt")
    assert [entry.path for entry in files] == ["a.txt"]
    assert digest != digest_tree(tree)[0]


def test_a_whole_folder_is_verified(tree: Path) -> None:
    seen: list[int] = []
    verify(tree, manifest_of(tree), seen.append)
    assert sum(seen) == 5 + 25600


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tree: (tree / "a.txt").write_bytes(b"alphb"), r"a\.txt: sha256"),
        (lambda tree: (tree / "a.txt").write_bytes(b"alph"), r"a\.txt: 4 bytes instead of 5"),
        (lambda tree: (tree / "sub" / "ü b.bin").unlink(), r"sub/ü b\.bin: the file is missing"),
        (lambda tree: (tree / "sub" / "more").write_bytes(b""), r"sub/more: the file is not part"),
    ],
)
def test_the_first_wrong_file_is_named(tree: Path, damage: object, message: str) -> None:
    manifest = manifest_of(tree)
    damage(tree)  # type: ignore[operator]
    with pytest.raises(StageError, match=message) as caught:
        verify(tree, manifest)
    assert caught.value.reason is FailureReason.DIGEST_MISMATCH


def test_a_manifest_that_lists_other_files_than_its_digest_is_refused(tree: Path) -> None:
    manifest = manifest_of(tree)
    with pytest.raises(StageError, match="not that of the files it lists"):
        verify(tree, manifest.model_copy(update={"digest": "sha256:" + "0" * 64}))


def test_what_is_no_regular_file_is_refused(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with pytest.raises(StageError, match="'pipe' is not a regular file"):
        digest_tree(tree)
    with pytest.raises(StageError, match="'pipe' is not a regular file"):
        digest_tree(tree / "pipe")


def test_a_source_with_another_digest_than_asked_for_is_refused(tree: Path) -> None:
    uri = tree.as_uri()
    asked = Source(uri=uri, digest="sha256:" + "1" * 64)
    with pytest.raises(StageError, match="the digest is sha256:") as caught:
        store_for(uri).open(asked, NOWHERE)
    assert caught.value.reason is FailureReason.DIGEST_MISMATCH
    assert caught.value.message.startswith(uri)
    assert store_for(uri).open(Source(uri=uri, digest=digest_tree(tree)[0]), NOWHERE).manifest is None


@pytest.mark.parametrize(
    ("content", "what"), [(b"{", "not a manifest"), (b"{}", "Field required"), (b"\xff", "not a manifest")]
)
def test_a_manifest_that_is_none_is_refused(tree: Path, content: bytes, what: str) -> None:
    (tree / "speechless.json").write_bytes(content)
    with pytest.raises(StageError, match=what) as caught:
        store_for(tree.as_uri()).open(Source(uri=tree.as_uri()), NOWHERE)
    assert caught.value.reason is FailureReason.DIGEST_MISMATCH


def test_a_missing_source_is_not_found(tmp_path: Path) -> None:
    uri = (tmp_path / "nothing").as_uri()
    with pytest.raises(StageError) as caught:
        store_for(uri).open(Source(uri=uri), NOWHERE)
    assert caught.value.reason is FailureReason.INPUT_NOT_FOUND


def test_an_empty_folder_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="holds no file") as caught:
        store_for(tmp_path.as_uri()).open(Source(uri=tmp_path.as_uri()), NOWHERE)
    assert caught.value.reason is FailureReason.INPUT_NOT_FOUND


def test_several_files_are_read_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one, the first would wait for the second for ever."""
    for name in "ab":
        (tmp_path / name).write_text(name)
    wanted = digest_tree(tmp_path)
    met, read = threading.Barrier(2, timeout=30), digest.hash_file

    def meet(*given: Any) -> Any:
        met.wait()
        return read(*given)

    monkeypatch.setattr(digest, "hash_file", meet)
    assert digest_tree(tmp_path) == wanted
    assert [entry.path for entry in wanted[1]] == ["a", "b"]


def test_who_watches_may_stop_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(10))

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        digest_tree(tmp_path, stop)
