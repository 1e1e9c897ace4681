"""Buckets as stores: an artifact is whole or not there, whatever is killed or cut, and however many publish it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.store import bucket as bucket_store
from speechless.store import claim, digest_tree
from tests.store.acts import (
    InBucket,
    checkpoint,
    child,
    fetch,
    inject_faults,
    kill_publishers,
    kill_readers,
    of_a_killed_client,
    publish,
    told,
    use,
)
from tests.store.proxy import Fault, Proxy
from tests.store.test_bucket import checkpoints
from tests.support.buckets import ROWS
from tests.support.wait import wait_for

pytestmark = pytest.mark.timeout(600)  # a kill at each request is a process each


@pytest.fixture(autouse=True)
def _hurried(hurried: None) -> None:
    """Publishers wait for less time than people do."""


@pytest.mark.parametrize("same", [True, False], ids=["same", "different"])
def test_publishers_at_the_same_time_leave_one_artifact(
    place: InBucket, work: Path, tmp_path: Path, same: bool
) -> None:
    works = [work, work, work]
    if not same:
        works = [Path(shutil.copytree(work, tmp_path / f"work-{number}")) for number in range(3)]
        for number, folder in enumerate(works):
            (folder / "config.json").write_text(f"{number}")
            (folder / f"only-{number}").write_text("")
    running = [child("publish", place.way("out"), folder) for folder in works]
    results = [told(process) for process in running]
    assert sorted(result["reused"] for result in results) == [False, True, True]
    assert len({result["digest"] for result in results}) == 1
    assert fetch(place.uri("out"), tmp_path / "in").digest == results[0]["digest"]
    assert {key.partition("/")[0] for key in place.bucket.keys("")} == {"out"}


def test_a_publisher_that_loses_its_claim_finds_what_the_other_published(
    place: InBucket, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not heard of for a while, such as on a machine that slept; another took over and was done first."""
    other = Path(shutil.copytree(work, tmp_path / "other"))
    (other / "config.json").write_text("other")
    upload, write, beats, others = bucket_store._upload, claim._Beat._write, list[Any](), list[Any]()
    asleep = threading.Event()

    def beat(self: Any) -> None:
        beats.append(self)
        if self is not beats[0] or not asleep.is_set():
            write(self)

    def sleep(where: Any, folder: Path, fields: Any, tick: Any) -> Any:
        whole = upload(where, folder, fields, tick)
        if folder == work and not others:
            asleep.set()
            others.append(publish(other, place.uri()))
            asleep.clear()
            wait_for(lambda: beats[0]._claim.lost, "the one that slept to see that its claim is gone")
        return whole

    monkeypatch.setattr(claim._Beat, "_write", beat)
    monkeypatch.setattr(bucket_store, "_upload", sleep)
    found = publish(work, place.uri())
    assert (found.artifact, found.reused, others[0].reused) == (others[0].artifact, True, False)


def test_a_file_that_another_wrote_meanwhile_is_seen_before_the_manifest(
    place: InBucket, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that slept through the loss of its claim writes a file of the same size: no manifest is put above it."""
    put, wrong = bucket_store.put_file, list[str]()

    def and_another(where: Any, key: str, *more: Any) -> Any:
        made = put(where, key, *more)
        if key.endswith("config.json") and not wrong:
            wrong.append(key)
            place.bucket.put(key, b"[]")
        return made

    monkeypatch.setattr(bucket_store, "put_file", and_another)
    assert publish(work, place.uri()).artifact.digest == digest_tree(work)[0]
    assert wrong
    assert place.bucket.get(wrong[0]) == b"{}"


def of_each_scheme(name: str, values: Sequence[int], sample: int) -> Any:
    """All values for one kind of bucket, a sample for each other kind; the rest of those is `make test-more`'s."""
    cases: list[Any] = [("s3", value) for value in values]
    for scheme in ROWS:
        if scheme != "s3":
            cases.append((scheme, sample))
            cases += [
                pytest.param(scheme, each, marks=pytest.mark.heavy) for each in values if each != sample
            ]
    return pytest.mark.parametrize(("place", name), cases, indirect=["place"])


@of_a_killed_client
@of_each_scheme("step", [1], 7)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_publisher_killed_at_any_request_leaves_it_whole_or_absent(
    place: InBucket, work: Path, tmp_path: Path, after: bool, step: int
) -> None:
    kill_publishers(place, work, tmp_path, after=after, step=step)


@of_a_killed_client
@of_each_scheme("step", [1], 4)
def test_a_reader_killed_at_any_request_goes_on(
    place: InBucket, work: Path, tmp_path: Path, step: int
) -> None:
    kill_readers(place, work, tmp_path, step=step)


@of_each_scheme("seed", range(5), 0)
def test_random_faults_leave_it_whole_or_told(
    place: InBucket, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    inject_faults(place, work, tmp_path, monkeypatch, seed, rounds=6 if place.row.scheme == "s3" else 3)


@pytest.mark.parametrize("at", range(1, 4))
def test_a_checkpoint_that_is_cut_is_not_taken_up(
    place: InBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    one = checkpoints(place, tmp_path / "one")
    for step in (1, 2):
        checkpoint(one.folder, step)
    one.save(1, "me")

    def cut(number: int, _request: web.BaseRequest) -> Fault:
        return Fault.BUSY if number >= at else Fault.NONE

    with Proxy(place.root, cut) as proxy:
        use(monkeypatch, place.server.environment(proxy.url))
        monkeypatch.setattr("speechless.store.clients._retries", lambda: {"max_retries": 0})
        with pytest.raises(StageError, match="cannot be written") as caught:
            checkpoints(place, tmp_path / "one").save(2, "me")
    assert caught.value.reason is FailureReason.STORE_UNAVAILABLE
    use(monkeypatch, place.server.environment())
    found = checkpoints(place, tmp_path / "other").newest("me")
    assert found
    assert found.step == 1
