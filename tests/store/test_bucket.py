"""A bucket as a store: the same artifact as on a volume, whole or not there, whatever is killed or cut."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from speechless.contract import FailureReason, Format, Source
from speechless.errors import StageError
from speechless.store import Access, ManifestFields, claim, digest_tree, store_for
from speechless.store import bucket as bucket_store
from tests.store.proxy import Fault, Proxy
from tests.support import s3
from tests.support.ports import free_port
from tests.support.wait import wait_for

FIELDS = ManifestFields(format=Format.DATASET)
pytestmark = pytest.mark.timeout(600)  # a kill at each request is a process each


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "BEAT", 0.1)
    monkeypatch.setattr(claim, "PATIENCE", 1.0)
    monkeypatch.setattr(claim, "LOOK", 0.1)


def uri_of(bucket: Path, path: str = "demo/finetune/tuned/1a2b") -> str:
    return f"s3://{bucket.name}/{path}"


def publish(work: Path, uri: str) -> Any:
    return store_for(uri).publish(work, uri, FIELDS)


def fetch(uri: str, into: Path, digest: str | None = None) -> Any:
    return store_for(uri).open(Source(uri=uri, digest=digest), into)


def child(action: str, uri: str, folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.child", action, uri, str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate(timeout=300)
    return json.loads(out.splitlines()[-1])


# ---------------------------------------------------------------------------------------------------- the same artifact


def test_it_is_published_read_and_found_again(bucket: Path, work: Path, tmp_path: Path) -> None:
    uri = uri_of(bucket)
    store_for(uri).prepare(uri)
    made = publish(work, uri)
    assert not made.reused
    # As plain files under their own names, for every other tool.
    assert (bucket / "demo/finetune/tuned/1a2b/sub/a b%c+d?ü.txt").read_text() == "text\n"
    assert sorted(path.name for path in (bucket / "demo/finetune/tuned").iterdir()) == ["1a2b"]
    opened = fetch(uri, tmp_path / "in", made.artifact.digest)
    assert opened.manifest == made.manifest
    assert digest_tree(tmp_path / "in") == digest_tree(work)
    again = publish(work, uri)
    assert again.reused
    assert again.artifact == made.artifact


def test_the_digest_is_the_same_from_each_scheme(bucket: Path, work: Path, tmp_path: Path) -> None:
    shutil.copytree(work, bucket / "plain")
    shutil.copytree(work, tmp_path / "claim" / "plain")
    here = store_for("pvc://c/plain", Access({"c": str(tmp_path / "claim")})).open(
        Source(uri="pvc://c/plain"), tmp_path / "no"
    )
    assert fetch(uri_of(bucket, "plain"), tmp_path / "in").digest == here.digest
    one = fetch(uri_of(bucket, "plain/sub/a%20b%25c+d%3Fü.txt"), tmp_path / "one")
    assert one.path.read_text() == "text\n"
    assert one.digest == digest_tree(work / "sub" / "a b%c+d?ü.txt")[0]


def test_what_tools_keep_is_not_content(bucket: Path, work: Path, tmp_path: Path) -> None:
    shutil.copytree(work, bucket / "plain")
    before = fetch(uri_of(bucket, "plain"), tmp_path / "one").digest
    (bucket / "plain" / ".cache").mkdir()
    (bucket / "plain" / ".cache" / "stamp").write_text("now")
    assert fetch(uri_of(bucket, "plain"), tmp_path / "two").digest == before


def test_a_folder_that_was_downloaded_is_not_downloaded_again(
    server: s3.Server, bucket: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(work, uri_of(bucket))
    with Proxy(server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        fetch(uri_of(bucket), tmp_path / "in")
        (tmp_path / "in" / "left-by-an-older-version").write_text("x")
        first = len(proxy.requests)
        fetch(uri_of(bucket), tmp_path / "in")
        assert not [
            asked for asked in proxy.requests[first:] if "weights" in asked and asked.startswith("GET")
        ]
    assert digest_tree(tmp_path / "in") == digest_tree(work)


# -------------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("uri", "what"),
    [("s3://{}/nothing", "nothing is there"), ("s3://no-such-bucket/x", "there is no such bucket")],
)
def test_a_source_that_is_not_there(bucket: Path, tmp_path: Path, uri: str, what: str) -> None:
    with pytest.raises(StageError, match=what) as caught:
        fetch(uri.format(bucket.name), tmp_path / "in")
    assert caught.value.reason is FailureReason.INPUT_NOT_FOUND
    assert caught.value.hint


def test_existing_is_of_the_whole_name(bucket: Path, work: Path) -> None:
    publish(work, uri_of(bucket, "models/base"))
    assert [
        store_for(uri_of(bucket)).exists(uri_of(bucket, path))
        for path in ("models/base", "models", "models/base/config.json", "models/bas", "nothing")
    ] == [True, True, True, False, False]


@pytest.mark.parametrize("act", ["read", "prepare", "publish"])
def test_credentials_that_are_wrong(
    bucket: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    uri = uri_of(bucket)
    acts = {
        "read": lambda: fetch(uri, tmp_path / "in"),
        "prepare": lambda: store_for(uri).prepare(uri),
        "publish": lambda: publish(work, uri),
    }
    with pytest.raises(StageError, match="AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY") as caught:
        acts[act]()
    assert caught.value.reason is FailureReason.INPUT_FORBIDDEN
    assert "wrong" not in caught.value.message


def test_a_secret_counts_and_not_the_environment(
    bucket: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "AWS_ACCESS_KEY_ID").write_text(f"{s3.KEY}\n")
    (secret / "AWS_SECRET_ACCESS_KEY").write_text(s3.SECRET)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-somebody-else")
    access = Access(secrets={"bucket-keys": str(secret)})
    uri = uri_of(bucket)
    store_for(uri, access, "bucket-keys").publish(work, uri, FIELDS)
    with pytest.raises(StageError, match="the Secret 'other' is not mounted"):
        store_for(uri, access, "other")
    (secret / "AWS_ACCESS_KEY_ID").unlink()
    (secret / "AWS_SECRET_ACCESS_KEY").unlink()
    with pytest.raises(StageError, match="has none of the keys that s3:// knows") as caught:
        store_for(uri, access, "bucket-keys")
    assert "AWS_ACCESS_KEY_ID" in (caught.value.hint or "")


def test_half_of_a_pair_of_keys_is_told(
    bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StageError, match="go together: one of them is missing") as caught:
        fetch(uri_of(bucket), tmp_path / "in")
    assert caught.value.reason is FailureReason.INVALID_SPEC


@pytest.mark.parametrize("act", ["prepare", "publish", "checkpoints"])
def test_the_root_of_a_bucket_is_no_output(bucket: Path, work: Path, act: str) -> None:
    uri = f"s3://{bucket.name}/"
    store = store_for(uri)
    acts = {
        "prepare": lambda: store.prepare(uri),
        "publish": lambda: store.publish(work, uri, FIELDS),
        "checkpoints": lambda: store.checkpoints(uri, work),
    }
    with pytest.raises(StageError, match="names no path in its bucket") as caught:
        acts[act]()
    assert caught.value.reason is FailureReason.INVALID_SPEC


def test_no_server(bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr("speechless.store.clients._retries", lambda: {"max_retries": 0})
    with pytest.raises(StageError, match="cannot be read") as caught:
        fetch(uri_of(bucket), tmp_path / "in")
    assert caught.value.reason is FailureReason.STORE_UNAVAILABLE


def test_a_bucket_that_is_full(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "small" / "data"
    data.mkdir(parents=True)
    inside = f'mount -t tmpfs -o size=6m none {data} && mkdir {data}/full && exec "$@"'
    mounts = ["unshare", "--mount", "sh", "-c", inside, "sh"]
    with s3.serving(tmp_path / "small", before=mounts) as small:
        for name, value in small.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("speechless.store.clients._retries", lambda: {"max_retries": 0})
        with pytest.raises(StageError) as caught:
            publish(work, "s3://full/out")
        assert store_for("s3://full/out").find("s3://full/out") is None
    assert caught.value.reason is FailureReason.STORE_FULL


def test_a_bucket_that_is_read_only(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "fixed").mkdir(parents=True)
    with s3.serving(tmp_path, "--readonly") as fixed:
        for name, value in fixed.environment().items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StageError, match="cannot be written") as caught:
            store_for("s3://fixed/out").prepare("s3://fixed/out")
    assert caught.value.reason is FailureReason.INPUT_FORBIDDEN


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda folder: (folder / "config.json").write_text("[]"), r"config\.json: sha256"),
        (lambda folder: (folder / "config.json").write_text("{ }"), r"config\.json: 3 bytes instead of 2"),
        (lambda folder: (folder / "config.json").unlink(), r"config\.json: the file is missing"),
        (lambda folder: (folder / "more").write_text(""), r"more: the file is not part of the artifact"),
        (lambda folder: (folder / "speechless.json").write_text("{"), r"speechless\.json is not a manifest"),
    ],
)
def test_an_altered_artifact_is_refused(
    bucket: Path, work: Path, tmp_path: Path, change: Any, what: str
) -> None:
    publish(work, uri_of(bucket, "out"))
    change(bucket / "out")
    with pytest.raises(StageError, match=what) as caught:
        fetch(uri_of(bucket, "out"), tmp_path / "in")
    assert caught.value.reason is FailureReason.DIGEST_MISMATCH


def test_another_digest_than_asked_for(bucket: Path, work: Path, tmp_path: Path) -> None:
    shutil.copytree(work, bucket / "plain")
    with pytest.raises(StageError, match="asked for is sha256:0000"):
        fetch(uri_of(bucket, "plain"), tmp_path / "in", "sha256:" + "0" * 64)


def test_what_a_user_put_there_is_not_overwritten(bucket: Path, work: Path) -> None:
    (bucket / "out").mkdir()
    (bucket / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(StageError, match="exists and is not an artifact"):
        publish(work, uri_of(bucket, "out"))
    assert (bucket / "out" / "thesis.txt").read_text() == "years of work"
    with pytest.raises(StageError, match="exists and is not an artifact"):
        publish(work, uri_of(bucket, "out"))


# --------------------------------------------------------------------------------------------- several, killed, and cut


@pytest.mark.parametrize("same", [True, False], ids=["same", "different"])
def test_publishers_at_the_same_time_leave_one_artifact(
    server: s3.Server, bucket: Path, work: Path, tmp_path: Path, same: bool
) -> None:
    works = [work, work, work]
    if not same:
        works = [Path(shutil.copytree(work, tmp_path / f"work-{number}")) for number in range(3)]
        for number, folder in enumerate(works):
            (folder / "config.json").write_text(f"{number}")
            (folder / f"only-{number}").write_text("")
    running = [child("publish", uri_of(bucket), folder, s3.use(server)) for folder in works]
    results = [told(process) for process in running]
    assert sorted(result["reused"] for result in results) == [False, True, True]
    assert len({result["digest"] for result in results}) == 1
    assert fetch(uri_of(bucket), tmp_path / "in").digest == results[0]["digest"]
    assert sorted(path.name for path in (bucket / "demo/finetune/tuned").iterdir()) == ["1a2b"]


def test_a_publisher_that_loses_its_claim_finds_what_the_other_published(
    bucket: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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

    def sleep(place: Any, folder: Path, fields: Any, tick: Any) -> Any:
        whole = upload(place, folder, fields, tick)
        if folder == work and not others:
            asleep.set()
            others.append(publish(other, uri_of(bucket)))
            asleep.clear()
            wait_for(lambda: beats[0]._claim.lost, "the one that slept to see that its claim is gone")
        return whole

    monkeypatch.setattr(claim._Beat, "_write", beat)
    monkeypatch.setattr(bucket_store, "_upload", sleep)
    found = publish(work, uri_of(bucket))
    assert (found.artifact, found.reused, others[0].reused) == (others[0].artifact, True, False)


def of_a_killed_client(test: Any) -> Any:
    """Its last connections, which asyncio accepts in the proxy when it is dead and drops without closing them.

    Nothing of the stores is hidden by it: their client's sockets are not Python's.
    """
    for what in ("unclosed transport <_SelectorSocketTransport", r"unclosed <socket\.socket .*127\.0\.0\.1"):
        test = pytest.mark.filterwarnings(f"ignore:{what}:ResourceWarning")(test)
    return test


class Killer:
    """Ends a process at its nth request, before or after the server has it."""

    def __init__(self, at: int, *, after: bool) -> None:
        self._at, self._after = at, after
        self.process: subprocess.Popen[str] | None = None
        self.ready = threading.Event()

    def __call__(self, number: int, _request: web.BaseRequest) -> Fault:
        if number != self._at:
            return Fault.NONE
        self.ready.wait(10)
        assert self.process
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        return Fault.LOSE_ANSWER if self._after else Fault.CUT_REQUEST


def killed(server: s3.Server, action: str, uri: str, folder: Path, at: int, *, after: bool) -> bool:
    """Run it, and kill it at that request; False if it was done before."""
    killer = Killer(at, after=after)
    with Proxy(server.endpoint, killer) as proxy:
        killer.process = child(action, uri, folder, s3.use(server, proxy.url))
        killer.ready.set()
        killer.process.communicate(timeout=300)
    return killer.process.returncode == -signal.SIGKILL


@of_a_killed_client
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_publisher_killed_at_any_request_leaves_it_whole_or_absent(
    server: s3.Server, bucket: Path, work: Path, tmp_path: Path, after: bool
) -> None:
    wanted = digest_tree(work)[0]
    for at in itertools.count(1):
        uri = uri_of(bucket, f"killed-{after}-{at}")
        going_on = killed(server, "publish", uri, work, at, after=after)
        found = store_for(uri).find(uri)
        assert found is None or found.artifact.digest == wanted
        assert publish(work, uri).artifact.digest == wanted
        assert fetch(uri, tmp_path / f"in-{at}").digest == wanted
        if not going_on:
            assert at > 12
            return


@of_a_killed_client
def test_a_reader_killed_at_any_request_goes_on(
    server: s3.Server, bucket: Path, work: Path, tmp_path: Path
) -> None:
    made = publish(work, uri_of(bucket))
    for at in itertools.count(1):
        into = tmp_path / f"in-{at}"
        going_on = killed(server, "open", uri_of(bucket), into, at, after=False)
        assert fetch(uri_of(bucket), into).digest == made.artifact.digest
        assert digest_tree(into) == digest_tree(work)
        if not going_on:
            assert at > 6
            return


READ = (Fault.BUSY, Fault.SLOW, Fault.CUT_REQUEST, Fault.CUT_ANSWER, Fault.WRONG_ANSWER)
WRITE = (*READ, Fault.LOSE_ANSWER, Fault.WRONG_REQUEST)


@pytest.mark.parametrize("seed", range(5))
def test_random_faults_leave_it_whole_or_told(
    server: s3.Server, bucket: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance, wanted, injected, wrong = random.Random(seed), digest_tree(work)[0], 0, list[str]()
    for number in range(6):
        uri = uri_of(bucket, f"faults-{number}")
        for action in ("publish", "open"):
            kinds = WRITE if action == "publish" else READ

            def decide(_number: int, _request: web.BaseRequest, kinds: Any = kinds) -> Fault:
                return chance.choice(kinds) if chance.random() < 0.25 else Fault.NONE

            with Proxy(server.endpoint, decide) as proxy:
                monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
                try:
                    if action == "publish":
                        assert publish(work, uri).artifact.digest == wanted
                    else:
                        assert fetch(uri, tmp_path / f"in-{number}").digest == wanted
                except StageError as problem:
                    wrong = [*wrong, problem.message] if uri not in problem.message else wrong
                injected += sum(fault is not Fault.NONE for fault in proxy.faults)
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
            found = store_for(uri).find(uri)
            assert found is None or found.artifact.digest == wanted
            publish(work, uri)
        assert fetch(uri, tmp_path / f"in-{number}").digest == wanted
        assert digest_tree(tmp_path / f"in-{number}") == digest_tree(work)
    assert wrong == []
    assert injected >= 20


# ---------------------------------------------------------------------------------------------------------- checkpoints


def checkpoint(folder: Path, step: int) -> None:
    path = folder / f"checkpoint-{step}"
    (path / "sub").mkdir(parents=True)
    (path / "model").write_bytes(b"%d" % step * 3_000_000)
    (path / "sub" / "state").write_text("state")


def checkpoints(bucket: Path, machine: Path) -> Any:
    """Those of a run on one machine: nothing of it is on another."""
    return store_for(uri_of(bucket)).checkpoints(uri_of(bucket), machine)


def test_a_checkpoint_is_resumed_on_another_machine(bucket: Path, tmp_path: Path) -> None:
    one = checkpoints(bucket, tmp_path / "one")
    for step in (5, 10, 15):
        checkpoint(one.folder, step)
        one.save(step, "me")
        one.prune(2, "me")
    kept = bucket / "demo/finetune/tuned/1a2b.checkpoints"
    assert sorted(path.name for path in kept.iterdir()) == ["checkpoint-10", "checkpoint-15"]
    (
        kept / "checkpoint-15" / "complete.json"
    ).unlink()  # as a machine leaves it that is lost while it uploads
    other = checkpoints(bucket, tmp_path / "other")
    found = other.newest("me")
    assert found
    assert (found.step, found.path) == (10, tmp_path / "other" / "checkpoint-10")
    assert digest_tree(found.path) == digest_tree(tmp_path / "one" / "checkpoint-10")
    assert checkpoints(bucket, tmp_path / "third").newest("another run") is None
    other.clear()
    assert not kept.exists() or not list(kept.iterdir())
    assert not other.folder.exists()


def test_a_checkpoint_that_was_altered_is_not_taken_up(bucket: Path, tmp_path: Path) -> None:
    """Its size is the same, and of a file of several parts the server's own digest says nothing."""
    one = checkpoints(bucket, tmp_path / "one")
    checkpoint(one.folder, 12)
    one.save(12, "me")
    (kept,) = (bucket / "demo/finetune/tuned").glob("*.checkpoints/checkpoint-12/model")
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with pytest.raises(StageError, match="model: sha256") as caught:
        checkpoints(bucket, tmp_path / "other").newest("me")
    assert caught.value.reason is FailureReason.DIGEST_MISMATCH


@pytest.mark.parametrize("at", range(1, 4))
def test_a_checkpoint_that_is_cut_is_not_taken_up(
    server: s3.Server, bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    one = checkpoints(bucket, tmp_path / "one")
    for step in (1, 2):
        checkpoint(one.folder, step)
    one.save(1, "me")

    def cut(number: int, _request: web.BaseRequest) -> Fault:
        return Fault.BUSY if number >= at else Fault.NONE

    with Proxy(server.endpoint, cut) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        monkeypatch.setattr("speechless.store.clients._retries", lambda: {"max_retries": 0})
        with pytest.raises(StageError, match="cannot be written") as caught:
            checkpoints(bucket, tmp_path / "one").save(2, "me")
    assert caught.value.reason is FailureReason.STORE_UNAVAILABLE
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    found = checkpoints(bucket, tmp_path / "other").newest("me")
    assert (found and found.step) == 1
