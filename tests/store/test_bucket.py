"""Buckets as stores: the same artifact as on a volume, of each scheme against a server of its kind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import FailureReason, Source
from speechless.errors import StageError
from speechless.store import Access, digest_tree, store_for
from speechless.store.clients import connect_bucket
from speechless.store.objects import Place, delete
from tests.store.acts import FIELDS, InBucket, checkpoint, fetch, publish, use
from tests.store.proxy import Proxy
from tests.support import azurite, s3
from tests.support.buckets import ROWS, Server
from tests.support.ports import free_port

LOCKED = pytest.mark.parametrize("place", [name for name, row in ROWS.items() if row.keys], indirect=True)
"""The servers that do not take every credential."""


@pytest.fixture(autouse=True)
def _hurried(hurried: None) -> None:
    """Publishers wait for less time than people do."""


# ---------------------------------------------------------------------------------------------------- the same artifact


def test_it_is_published_read_and_found_again(place: InBucket, work: Path, tmp_path: Path) -> None:
    uri = place.uri()
    store_for(uri).prepare(uri)
    made = publish(work, uri)
    assert not made.reused
    # As plain files under their own names, for every other tool.
    assert place.bucket.get("demo/finetune/tuned/1a2b/sub/a b%c+d?ü.txt") == b"text\n"
    names = [path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file()]
    wanted = sorted(f"demo/finetune/tuned/1a2b/{name}" for name in [*names, "speechless.json"])
    assert place.bucket.keys() == wanted, "neither the probe nor the claim is left"
    opened = fetch(uri, tmp_path / "in", made.artifact.digest)
    assert opened.manifest == made.manifest
    assert digest_tree(tmp_path / "in") == digest_tree(work)
    again = publish(work, uri)
    assert again.reused
    assert again.artifact == made.artifact


def test_the_digest_is_the_same_from_each_scheme(place: InBucket, work: Path, tmp_path: Path) -> None:
    place.copy(work, "plain")
    shutil.copytree(work, tmp_path / "claim" / "plain")
    here = store_for("pvc://c/plain", Access({"c": str(tmp_path / "claim")})).open(
        Source(uri="pvc://c/plain"), tmp_path / "no"
    )
    assert fetch(place.uri("plain"), tmp_path / "in").digest == here.digest
    one = fetch(place.uri("plain/sub/a%20b%25c+d%3Fü.txt"), tmp_path / "one")
    assert one.path.read_text() == "text\n"
    assert one.digest == digest_tree(work / "sub" / "a b%c+d?ü.txt")[0]


def test_what_tools_keep_is_not_content(place: InBucket, work: Path, tmp_path: Path) -> None:
    place.copy(work, "plain")
    before = fetch(place.uri("plain"), tmp_path / "one").digest
    place.bucket.put("plain/.cache/stamp", b"now")
    assert fetch(place.uri("plain"), tmp_path / "two").digest == before


def test_a_folder_that_was_downloaded_is_not_downloaded_again(
    place: InBucket, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(work, place.uri())
    with Proxy(place.root) as proxy:
        use(monkeypatch, place.server.environment(proxy.url))
        fetch(place.uri(), tmp_path / "in")
        (tmp_path / "in" / "left-by-an-older-version").write_text("x")
        first = len(proxy.requests)
        assert first
        fetch(place.uri(), tmp_path / "in")
        assert not [
            asked for asked in proxy.requests[first:] if "weights" in asked and asked.startswith("GET")
        ]
    assert digest_tree(tmp_path / "in") == digest_tree(work)


def test_what_changed_has_another_state(place: InBucket) -> None:
    """By which a cache knows it; whether it is asked for as an object or as what lies below a key."""
    states = []
    for content in (b"one", b"three"):
        place.bucket.put("set/rows.jsonl", content)
        states += [
            store_for(place.uri(name)).resolve(Source(uri=place.uri(name))).state
            for name in ("set", "set/rows.jsonl")
        ]
        assert store_for(place.uri("set")).resolve(Source(uri=place.uri("set"))).state == states[-2]
    assert states[0] != states[2]
    assert states[:2] != states[2:]
    assert states[0::2] == states[1::2], "a list names the version as an object's own answer does"


# -------------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("path", "what"),
    [("{}/nothing", "nothing is there"), ("no-such-bucket/x", r"there is no such \w+")],
)
def test_a_source_that_is_not_there(place: InBucket, tmp_path: Path, path: str, what: str) -> None:
    with pytest.raises(StageError, match=what) as caught:
        fetch(f"{place.row.scheme}://{path.format(place.bucket.name)}", tmp_path / "in")
    assert caught.value.reason is FailureReason.INPUT_NOT_FOUND
    assert caught.value.hint


def test_a_bucket_that_is_not_there_is_told_before_the_work(place: InBucket) -> None:
    uri = f"{place.row.scheme}://no-such-bucket/x"
    with pytest.raises(StageError, match=r"there is no such \w+") as caught:
        store_for(uri).prepare(uri)
    assert caught.value.reason is FailureReason.INPUT_NOT_FOUND


def test_existing_is_of_the_whole_name(place: InBucket, work: Path) -> None:
    publish(work, place.uri("models/base"))
    assert [
        store_for(place.uri()).exists(place.uri(path))
        for path in ("models/base", "models", "models/base/config.json", "models/bas", "nothing")
    ] == [True, True, True, False, False]


@LOCKED
@pytest.mark.parametrize("act", ["read", "prepare", "publish"])
def test_credentials_that_are_wrong(
    place: InBucket, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    monkeypatch.setenv(*place.row.wrong)
    uri = place.uri()
    acts = {
        "read": lambda: fetch(uri, tmp_path / "in"),
        "prepare": lambda: store_for(uri).prepare(uri),
        "publish": lambda: publish(work, uri),
    }
    with pytest.raises(StageError, match=place.row.keys) as caught:
        acts[act]()
    assert caught.value.reason is FailureReason.INPUT_FORBIDDEN
    assert place.row.wrong[1] not in caught.value.message


@LOCKED
def test_a_secret_counts_and_not_the_environment(
    place: InBucket, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, keys = tmp_path / "secret", place.row.keys.split(", ")
    secret.mkdir()
    for name, value in place.server.environment().items():
        if name in keys:
            (secret / name).write_text(f"{value}\n")
            monkeypatch.delenv(name)
    use(monkeypatch, place.row.other)
    access = Access(secrets={"bucket-keys": str(secret)})
    uri = place.uri()
    made = store_for(uri, access, "bucket-keys").publish(work, uri, FIELDS)
    opened = store_for(uri, access, "bucket-keys").open(Source(uri=uri), tmp_path / "in")
    assert opened.digest == made.artifact.digest
    with pytest.raises(StageError, match="the Secret 'other' is not mounted"):
        store_for(uri, access, "other")
    for key in keys:
        (secret / key).unlink()
    with pytest.raises(StageError, match=f"has none of the keys that {place.row.scheme}:// knows") as caught:
        store_for(uri, access, "bucket-keys")
    assert keys[0] in (caught.value.hint or "")


def test_half_of_a_pair_of_keys_is_told(
    bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StageError, match="go together: one of them is missing") as caught:
        fetch(f"s3://{bucket.name}/x", tmp_path / "in")
    assert caught.value.reason is FailureReason.INVALID_SPEC


@pytest.mark.parametrize("act", ["prepare", "publish", "checkpoints"])
def test_the_root_of_a_bucket_is_no_output(place: InBucket, work: Path, act: str) -> None:
    uri = place.uri("")
    store = store_for(uri)
    acts = {
        "prepare": lambda: store.prepare(uri),
        "publish": lambda: store.publish(work, uri, FIELDS),
        "checkpoints": lambda: store.checkpoints(uri, work),
    }
    with pytest.raises(StageError, match=r"names no path in its \w+") as caught:
        acts[act]()
    assert caught.value.reason is FailureReason.INVALID_SPEC


def test_no_server(place: InBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, place.server.environment(f"http://127.0.0.1:{free_port()}"))
    monkeypatch.setattr("speechless.store.clients._retries", lambda: {"max_retries": 0})
    with pytest.raises(StageError, match="cannot be read") as caught:
        fetch(place.uri(), tmp_path / "in")
    assert caught.value.reason is FailureReason.STORE_UNAVAILABLE


def test_a_bucket_that_is_full(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "small" / "data"
    data.mkdir(parents=True)
    inside = f'mount -t tmpfs -o size=6m none {data} && mkdir {data}/full && exec "$@"'
    mounts = ["unshare", "--mount", "sh", "-c", inside, "sh"]
    with s3.serving(tmp_path / "small", before=mounts) as small:
        use(monkeypatch, small.environment())
        monkeypatch.setattr("speechless.store.clients._retries", lambda: {"max_retries": 0})
        with pytest.raises(StageError) as caught:
            publish(work, "s3://full/out")
        assert store_for("s3://full/out").find("s3://full/out") is None
    assert caught.value.reason is FailureReason.STORE_FULL


def test_a_bucket_that_is_read_only(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "fixed").mkdir(parents=True)
    with s3.serving(tmp_path, "--readonly") as fixed:
        use(monkeypatch, fixed.environment())
        with pytest.raises(StageError, match="cannot be written") as caught:
            store_for("s3://fixed/out").prepare("s3://fixed/out")
    assert caught.value.reason is FailureReason.INPUT_FORBIDDEN


def test_a_shared_access_signature(
    servers: Callable[[str], Server], work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure's own kind of key, which may do what it says and nothing else."""
    server = servers("az")
    use(monkeypatch, server.environment())
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    uri = f"az://{server.bucket('signed').name}/out"
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", azurite.container_access("signed"))
    store_for(uri).prepare(uri)
    made = publish(work, uri)
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", azurite.container_access("signed", "rl"))
    assert fetch(uri, tmp_path / "in").digest == made.artifact.digest
    with pytest.raises(
        StageError, match=r"cannot be written with those of .*AZURE_STORAGE_SAS_TOKEN"
    ) as caught:
        store_for(uri).prepare(uri)
    assert caught.value.reason is FailureReason.INPUT_FORBIDDEN
    assert "sig=" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("config.json", b"[]", r"config\.json: sha256"),
        ("config.json", b"{ }", r"config\.json: 3 bytes instead of 2"),
        ("config.json", None, r"config\.json: the file is missing"),
        ("more", b"", r"more: the file is not part of the artifact"),
        ("speechless.json", b"{", r"speechless\.json is not a manifest"),
    ],
)
def test_an_altered_artifact_is_refused(
    place: InBucket, work: Path, tmp_path: Path, name: str, content: bytes | None, what: str
) -> None:
    publish(work, place.uri("out"))
    if content is None:
        place.bucket.remove(f"out/{name}")
    else:
        place.bucket.put(f"out/{name}", content)
    with pytest.raises(StageError, match=what) as caught:
        fetch(place.uri("out"), tmp_path / "in")
    assert caught.value.reason is FailureReason.DIGEST_MISMATCH


def test_another_digest_than_asked_for(place: InBucket, work: Path, tmp_path: Path) -> None:
    place.copy(work, "plain")
    with pytest.raises(StageError, match="asked for is sha256:0000"):
        fetch(place.uri("plain"), tmp_path / "in", "sha256:" + "0" * 64)


def test_what_a_user_put_there_is_not_overwritten(place: InBucket, work: Path) -> None:
    place.bucket.put("out/thesis.txt", b"years of work")
    for _ in range(2):
        with pytest.raises(StageError, match="exists and is not an artifact"):
            publish(work, place.uri("out"))
        assert place.bucket.keys() == ["out/thesis.txt"]
    assert place.bucket.get("out/thesis.txt") == b"years of work"


def test_what_is_gone_already_is_no_error_where_objects_are_removed(place: InBucket) -> None:
    keys = [f"many/{number:03}" for number in range(300)]  # more than one request of Azure's takes
    for key in (keys[0], keys[-1], "many/stays"):
        place.bucket.put(key, b"x")
    client = connect_bucket(place.uri(), place.row.scheme, place.bucket.name, place.server.environment())
    delete(Place(place.uri(), client, ""), keys)
    assert place.bucket.keys() == ["many/stays"]


# ---------------------------------------------------------------------------------------------------------- checkpoints


def checkpoints(place: InBucket, machine: Path) -> Any:
    """Those of a run on one machine: nothing of it is on another."""
    return store_for(place.uri()).checkpoints(place.uri(), machine)


def test_a_checkpoint_is_resumed_on_another_machine(place: InBucket, tmp_path: Path) -> None:
    one = checkpoints(place, tmp_path / "one")
    for step in (5, 10, 15):
        checkpoint(one.folder, step)
        one.save(step, "me")
        one.prune(2, "me")
    kept = "demo/finetune/tuned/1a2b.checkpoints/"
    steps = {key.removeprefix(kept).partition("/")[0] for key in place.bucket.keys(kept)}
    assert steps == {"checkpoint-10", "checkpoint-15"}
    # As a machine leaves it that is lost while it uploads.
    place.bucket.remove(f"{kept}checkpoint-15/complete.json")
    other = checkpoints(place, tmp_path / "other")
    found = other.newest("me")
    assert found
    assert (found.step, found.path) == (10, tmp_path / "other" / "checkpoint-10")
    assert digest_tree(found.path) == digest_tree(tmp_path / "one" / "checkpoint-10")
    assert checkpoints(place, tmp_path / "third").newest("another run") is None
    other.clear()
    assert place.bucket.keys(kept) == []
    assert not other.folder.exists()


def test_a_step_that_is_spared_is_taken_on_another_machine(place: InBucket, tmp_path: Path) -> None:
    one = checkpoints(place, tmp_path / "one")
    for step in (5, 10, 15):
        checkpoint(one.folder, step)
        one.save(step, "me")
        one.prune(1, "me", {5})
    other = checkpoints(place, tmp_path / "other")
    found = other.take(5, "me")
    assert found == (5, tmp_path / "other" / "checkpoint-5")
    assert digest_tree(found.path) == digest_tree(tmp_path / "one" / "checkpoint-5")
    assert other.take(10, "me") is None
    assert other.take(15, "another run") is None
    other.clear()


def test_a_checkpoint_that_was_altered_is_not_taken_up(place: InBucket, tmp_path: Path) -> None:
    """Its size is the same, and of a file of several parts the server's own digest says nothing."""
    one = checkpoints(place, tmp_path / "one")
    checkpoint(one.folder, 12)
    one.save(12, "me")
    key = "demo/finetune/tuned/1a2b.checkpoints/checkpoint-12/model"
    place.bucket.put(key, place.bucket.get(key)[:-1] + b"x")
    with pytest.raises(StageError, match="model: sha256") as caught:
        checkpoints(place, tmp_path / "other").newest("me")
    assert caught.value.reason is FailureReason.DIGEST_MISMATCH
