"""Publishing: whole or nothing, once, read again."""

import errno
import json
import multiprocessing
import os
import resource
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from speechless.contract import FailureReason, Format, Source
from speechless.errors import StageError
from speechless.store import ManifestFields, Published, local, store_for
from speechless.store.local import LocalStore
from tests.unit.store import NOWHERE

# A fork of the runner would have its threads' locks, held for ever.
FRESH = multiprocessing.get_context("spawn")
FIELDS = ManifestFields(format=Format.DATASET, created_by="test")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """What is to be published: two files, one below a folder."""
    folder = tmp_path / "work"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"a" * 1000)
    (folder / "sub" / "b").write_bytes(b"b" * 3_000_000)
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "store" / "ns" / "out"


def publish(work: Path, out: Path) -> Published:
    return LocalStore({}).publish(work, out.as_uri(), FIELDS)


def beside(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir())


def test_an_artifact_is_published_with_its_manifest(work: Path, out: Path) -> None:
    published = publish(work, out)
    assert not published.reused
    assert published.artifact.size_bytes == 3_001_000
    manifest = json.loads((out / "speechless.json").read_text())
    assert [entry["path"] for entry in manifest["files"]] == ["a", "sub/b"]
    assert manifest["digest"] == published.artifact.digest
    assert beside(out) == ["out"]
    opened = store_for(out.as_uri()).open(Source(uri=out.as_uri(), digest=published.artifact.digest), NOWHERE)
    assert opened.path == out
    assert opened.manifest == published.manifest


def test_others_may_read_it(work: Path, out: Path) -> None:
    publish(work, out)
    assert out.stat().st_mode & 0o055 == 0o055


def test_a_single_file_can_be_published(work: Path, out: Path) -> None:
    publish(work / "a", out)
    assert sorted(path.name for path in out.iterdir()) == ["a", "speechless.json"]


def test_a_second_publish_finds_the_first(work: Path, out: Path) -> None:
    first = publish(work, out)
    (work / "a").write_bytes(b"other bytes")
    second = publish(work, out)
    assert second.reused
    assert second.artifact == first.artifact
    assert (out / "a").read_bytes() == b"a" * 1000


def test_an_altered_artifact_is_not_reused(work: Path, out: Path) -> None:
    publish(work, out)
    (out / "sub" / "b").write_bytes(b"c" * 3_000_000)
    with pytest.raises(StageError, match=r"sub/b: sha256") as caught:
        publish(work, out)
    assert caught.value.reason is FailureReason.DIGEST_MISMATCH


def test_a_killed_attempts_folder_is_replaced(work: Path, out: Path) -> None:
    out.parent.mkdir(parents=True)
    started = FRESH.Process(target=_publish_and_hang, args=(work, out))
    started.start()
    while not list(out.parent.glob(".out.partial-*/sub")):
        time.sleep(0.01)
    os.kill(started.pid or 0, signal.SIGKILL)
    started.join()
    assert len(list(out.parent.glob(".out.partial-*"))) == 1
    assert not out.exists()
    assert not publish(work, out).reused
    assert beside(out) == ["out"]


def _publish_and_hang(work: Path, out: Path) -> None:
    def tick(_: int) -> None:
        if list(out.parent.glob(".out.partial-*/sub")):
            time.sleep(60)

    LocalStore({}).publish(work, out.as_uri(), FIELDS, tick=tick)


def _wait_at(barrier: Barrier) -> None:
    barrier.wait(60)


def test_publishers_at_the_same_time_leave_one_artifact(work: Path, out: Path) -> None:
    together = FRESH.Barrier(4)
    with ProcessPoolExecutor(4, mp_context=FRESH, initializer=_wait_at, initargs=(together,)) as pool:
        results = list(pool.map(publish, [work] * 4, [out] * 4))
    assert sorted(result.reused for result in results) == [False, True, True, True]
    assert len({result.artifact.digest for result in results}) == 1
    assert beside(out) == ["out"]


def test_without_locks_the_rename_decides(work: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(local.fcntl, "flock", refuse)
    write = local._write

    def slower(*args: object) -> object:
        whole = write(*args)  # type: ignore[arg-type]
        # Another attempt is done first.
        monkeypatch.setattr(local, "_write", write)
        assert not publish(work, out).reused
        return whole

    monkeypatch.setattr(local, "_write", slower)
    assert publish(work, out).reused
    assert beside(out) == ["out"]


def test_what_a_user_put_there_is_not_overwritten(work: Path, out: Path) -> None:
    out.mkdir(parents=True)
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(StageError, match="exists and is not an artifact") as caught:
        publish(work, out)
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert (out / "thesis.txt").read_text() == "years of work"


def test_an_empty_folder_is_taken(work: Path, out: Path) -> None:
    out.mkdir(parents=True)
    assert not publish(work, out).reused


def test_a_full_store_is_told_and_left_clean(work: Path, out: Path) -> None:
    # A limit on a file's size stands for a full disk: EFBIG comes from the same write.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(StageError, match="cannot be written: File too large") as caught:
            publish(work, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.reason is FailureReason.STORE_FULL
    assert beside(out) == []


def test_no_space_left_is_a_full_store(work: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(local, "_sync", full)
    with pytest.raises(StageError, match="No space left") as caught:
        publish(work, out)
    assert caught.value.reason is FailureReason.STORE_FULL


def test_a_store_that_gives_back_other_bytes_is_no_success(
    work: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = local._rename

    def rot(partial: Path, target: Path) -> bool:
        done = rename(partial, target)
        (target / "a").write_bytes(b"z" * 1000)
        return done

    monkeypatch.setattr(local, "_rename", rot)
    with pytest.raises(StageError, match="other bytes than were written") as caught:
        publish(work, out)
    assert caught.value.reason is FailureReason.STORE_UNAVAILABLE
    assert not out.exists()


def test_a_store_that_may_not_be_written_fails_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write everywhere, so the refusal of a read-only mount is played.
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(local.tempfile, "TemporaryFile", refuse)
    uri = (tmp_path / "a" / "b").as_uri()
    with pytest.raises(StageError, match="cannot be written: Read-only") as caught:
        store_for(uri).prepare(uri)
    assert caught.value.reason is FailureReason.INPUT_FORBIDDEN


def test_a_file_where_a_folder_should_be_fails_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    uri = (tmp_path / "a" / "b").as_uri()
    with pytest.raises(StageError, match="cannot be written"):
        store_for(uri).prepare(uri)
