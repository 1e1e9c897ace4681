"""A registry as a store: the same artifact as on a volume, whole or not there, whatever is killed or cut."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import requests

from speechless.contract import FailureReason
from speechless.data.places import locate_data
from speechless.errors import StageError
from speechless.store import digest_tree, oci, store_for
from tests.store.acts import (
    checkpoint,
    child,
    fetch,
    inject_faults,
    kill_publishers,
    kill_readers,
    of_a_killed_client,
    publish,
    told,
)
from tests.store.proxy import Proxy
from tests.store.registries import TITLE, InRegistry, layer, manifest, manifest_with, push, uri_of
from tests.support import registry
from tests.support.ports import free_port

pytestmark = pytest.mark.timeout(600)  # a kill at each request is a process each


@pytest.fixture(autouse=True)
def _alone(alone_with_registries: None) -> None:
    """Nothing of this machine's own configuration, and less waiting."""


# ---------------------------------------------------------------------------------------------------- the same artifact


def test_it_is_published_read_and_found_again(host: str, name: str, work: Path, tmp_path: Path) -> None:
    uri = uri_of(host, name)
    store = store_for(uri)
    assert not store.exists(uri)
    assert store.find(uri) is None
    store.prepare(uri)
    assert not store.exists(uri), "what was written to try is no artifact"
    made = publish(work, uri)
    assert (made.reused, made.artifact.digest) == (False, digest_tree(work)[0])
    assert store.exists(uri)
    found = store.find(uri)
    assert found
    assert (found.reused, found.artifact, found.manifest) == (True, made.artifact, made.manifest)
    assert publish(work, uri).reused
    opened = fetch(uri, tmp_path / "in", made.artifact.digest)
    assert digest_tree(opened.path) == digest_tree(work)
    assert (opened.digest, opened.manifest) == (made.artifact.digest, made.manifest)
    again = fetch(f"oci://{host}/{name}@{opened.revision}", tmp_path / "by-digest")
    assert (again.digest, again.revision) == (opened.digest, opened.revision)


def test_the_layout_is_that_of_modelpack(host: str, name: str, work: Path) -> None:
    (work / "model.safetensors").write_bytes(b"weights")
    (work / "README.md").write_text("about")
    publish(work, uri_of(host, name))
    told = manifest(uri_of(host, name))
    assert told["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert told["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    layers = {one["annotations"]["org.cncf.model.filepath"]: one for one in told["layers"]}
    kinds = {
        path: one["mediaType"].removeprefix("application/vnd.cncf.model.") for path, one in layers.items()
    }
    assert kinds["model.safetensors"] == "weight.v1.raw"
    assert kinds["config.json"] == "weight.config.v1.raw"
    assert kinds["README.md"] == "doc.v1.raw"
    assert all(one["annotations"][TITLE] == path for path, one in layers.items())
    assert layers["config.json"]["digest"] == f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
    config = requests.get(f"http://{host}/v2/{name}/blobs/{told['config']['digest']}", timeout=10).json()
    assert config["modelfs"]["type"] == "layers"
    assert set(config["modelfs"]["diffIds"]) <= {one["digest"] for one in told["layers"]}
    assert config["descriptor"]["createdAt"] == "2026-01-02T03:04:05Z"


def test_another_client_pulls_it(host: str, name: str, work: Path, tmp_path: Path) -> None:
    """oras, which is the client that people have."""
    import oras.client

    publish(work, uri_of(host, name))
    client = oras.client.OrasClient(insecure=True)
    client.pull(target=f"{host}/{name}:1a2b", outdir=str(tmp_path / "in"))
    assert (tmp_path / "in" / "speechless.json").is_file()
    (tmp_path / "in" / "speechless.json").unlink()
    assert digest_tree(tmp_path / "in") == digest_tree(work)


def test_what_another_client_pushed_is_a_source(
    host: str, name: str, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import oras.client

    client = oras.client.OrasClient(insecure=True)
    files = [str(path) for path in (work / "config.json", work / "weights.bin")]
    client.push(target=f"{host}/{name}:theirs", files=files, disable_path_validation=True)
    opened = fetch(uri_of(host, name, "theirs"), tmp_path / "in")
    assert opened.manifest is None
    names = {path.name for path in opened.path.rglob("*") if path.is_file()}
    assert names == {"config.json", "weights.bin"}
    monkeypatch.chdir(work)
    client.push(target=f"{host}/{name}:folder", files=["sub"])
    opened = fetch(uri_of(host, name, "folder"), tmp_path / "folder")
    assert (opened.path / "sub" / "a b%c+d?ü.txt").read_text() == "text\n"


def test_layers_that_are_archives_are_unpacked(host: str, name: str, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("model/config.json")
        entry.size = 2
        archive.addfile(entry, io.BytesIO(b"{}"))
    content = packed.getvalue()
    uri = uri_of(host, name)
    media = "application/vnd.cncf.model.weight.config.v1.tar+gzip"
    push(uri, manifest_with(layer(content, media), layer(b"x", **{TITLE: "weights"})), b"{}", content, b"x")
    opened = fetch(uri, tmp_path / "in")
    assert (opened.path / "model" / "config.json").read_text() == "{}"
    assert {path.name for path in opened.path.rglob("*") if path.is_file()} == {"config.json", "weights"}
    assert opened.digest == digest_tree(opened.path)[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_what_an_archive_of_another_version_left_is_no_part_of_it(
    host: str, name: str, tmp_path: Path
) -> None:
    media = "application/vnd.cncf.model.weight.v1.tar"
    for version in ("one", "two"):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.addfile(tarfile.TarInfo(f"{version}.json"))
        push(uri_of(host, name), manifest_with(layer(packed.getvalue(), media)), b"{}", packed.getvalue())
        opened = fetch(uri_of(host, name), tmp_path / "in")
    assert [path.name for path in opened.path.iterdir()] == ["two.json"]


def test_a_command_brings_it_once(
    host: str, name: str, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the cache of the machine, which asks for the manifest at each use."""
    monkeypatch.setenv("SPEECHLESS_CACHE_DIR", str(tmp_path / "cache"))
    publish(work, uri_of(host, name))
    with Proxy(f"http://{host}") as proxy:
        through = uri_of(proxy.url.removeprefix("http://"), name)
        first = locate_data(through).path
        assert digest_tree(first) == digest_tree(work)
        before = len(proxy.requests)
        assert locate_data(through).path == first
        asked = proxy.requests[before:]
    large = hashlib.sha256((work / "weights.bin").read_bytes()).hexdigest()
    assert asked
    assert not [each for each in asked if large in each]


def test_without_a_tag_it_is_latest(host: str, name: str, work: Path) -> None:
    publish(work, f"oci://{host}/{name}")
    assert store_for(uri_of(host, name)).exists(uri_of(host, name, "latest"))


def test_a_folder_that_was_downloaded_is_not_downloaded_again(
    host: str, name: str, work: Path, tmp_path: Path
) -> None:
    publish(work, uri_of(host, name))
    with Proxy(f"http://{host}") as proxy:
        through = uri_of(proxy.url.removeprefix("http://"), name)
        fetch(through, tmp_path / "in")
        (tmp_path / "in" / "left-by-an-older-version").write_text("x")
        first = len(proxy.requests)
        fetch(through, tmp_path / "in")
        large = hashlib.sha256((work / "weights.bin").read_bytes()).hexdigest()
        assert not [asked for asked in proxy.requests[first:] if large in asked]
    (tmp_path / "in" / "speechless.json").unlink()
    assert digest_tree(tmp_path / "in") == digest_tree(work)


def test_a_registry_without_ranges(
    host: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers with the whole blob: what is there already is skipped."""
    from speechless.store import registry as client
    from speechless.store import transfer

    monkeypatch.setattr(transfer, "SEGMENT", 1 << 20)
    content = bytes(range(256)) * 10_000
    uri = uri_of(host, name)
    push(uri, manifest_with(layer(content, **{TITLE: "weights"})), b"{}", content)
    ask = client.Repository._ask

    def without(self: Any, method: str, where: str, **more: Any) -> Any:
        if "headers" in more and "Range" in more["headers"]:
            more["headers"] = {}
        return ask(self, method, where, **more)

    monkeypatch.setattr(client.Repository, "_ask", without)
    assert (fetch(uri, tmp_path / "in").path / "weights").read_bytes() == content


# -------------------------------------------------------------------------------------------------------- what is wrong


def test_a_source_that_is_not_there(host: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="has no 1a2b in") as caught:
        fetch(uri_of(host, name), tmp_path / "in")
    assert caught.value.reason is FailureReason.INPUT_NOT_FOUND


def test_no_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechless.store.transfer.time.sleep", lambda _: None)
    uri = f"oci://127.0.0.1:{free_port()}/x/y:z"
    with pytest.raises(StageError, match=r"cannot be read: .*refused") as caught:
        fetch(uri, tmp_path / "in")
    assert caught.value.reason is FailureReason.STORE_UNAVAILABLE
    assert uri in caught.value.message


@pytest.mark.parametrize(
    "rest",
    [
        "Team/model:v1",
        "team/model:",
        "team/a%3Fb:v1",
        "team//:v1",
        "team/model@sha256:12",
        "me:pw@other/x:v1",
    ],
)
def test_a_name_that_no_registry_takes_is_told(host: str, tmp_path: Path, rest: str) -> None:
    uri = f"oci://{host}/{rest}" if "pw@" not in rest else f"oci://{rest}"
    with pytest.raises(StageError, match="names no repository with a tag or a digest") as caught:
        fetch(uri, tmp_path / "in")
    assert caught.value.reason is FailureReason.INVALID_SPEC


def images() -> dict[str, tuple[dict[str, Any], str]]:
    """Manifests that hold no files, by what they are, with what is said of them."""
    named = layer(b"x", **{TITLE: "../../etc/passwd"})
    packed = "application/vnd.cncf.model.weight.v1.tar"
    return {
        "image": (
            manifest_with(layer(b"x"), config="application/vnd.oci.image.config.v1+json"),
            "is a container image",
        ),
        "nameless": (manifest_with(layer(b"x")), "without a file name"),
        "twice": (manifest_with(*[layer(b"x", **{TITLE: "a"})] * 2), "has 'a' twice"),
        "outside": (manifest_with(named), "leads out of the folder"),
        "zstd": (manifest_with(layer(b"x", f"{packed}+zstd", **{TITLE: "a"})), "is a Zstandard archive"),
        "no-tar": (
            manifest_with(layer(b"x", packed, **{TITLE: "a"})),
            "cannot be unpacked",
        ),
        "empty": (manifest_with(), "has no layers"),
    }


@pytest.mark.parametrize("kind", sorted(images()))
def test_what_is_no_artifact_is_told(host: str, name: str, tmp_path: Path, kind: str) -> None:
    told, what = images()[kind]
    push(uri_of(host, name), told, b"{}", b"x")
    with pytest.raises(StageError, match=what) as caught:
        fetch(uri_of(host, name), tmp_path / "deep" / "in")
    assert uri_of(host, name) in caught.value.message
    assert not list(tmp_path.rglob("passwd"))


def test_an_index_of_platforms_is_told(host: str, name: str, tmp_path: Path) -> None:
    push(uri_of(host, name, "one"), manifest_with(layer(b"x", **{TITLE: "a"})), b"{}", b"x")
    media = "application/vnd.oci.image.manifest.v1+json"
    where = f"http://{host}/v2/{name}/manifests/one"
    entry = layer(requests.get(where, headers={"Accept": media}, timeout=10).content, media)
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    push(uri_of(host, name), index)
    with pytest.raises(StageError, match="index of several manifests"):
        fetch(uri_of(host, name), tmp_path / "in")


def test_what_a_user_put_there_is_not_overwritten(host: str, name: str, work: Path) -> None:
    uri = uri_of(host, name)
    push(uri, manifest_with(layer(b"x", **{TITLE: "thesis.txt"})), b"{}", b"x")
    before = manifest(uri)
    with pytest.raises(StageError, match="exists and is not an artifact"):
        publish(work, uri)
    assert manifest(uri) == before


def test_an_image_is_not_overwritten(host: str, name: str, work: Path) -> None:
    told, _ = images()["image"]
    push(uri_of(host, name), told, b"{}", b"x")
    with pytest.raises(StageError, match="exists and is not an artifact") as caught:
        publish(work, uri_of(host, name))
    assert caught.value.reason is FailureReason.INVALID_SPEC


def test_nothing_is_published_under_a_digest(host: str, name: str, work: Path) -> None:
    with pytest.raises(StageError, match="names a digest"):
        publish(work, f"oci://{host}/{name}@sha256:{'0' * 64}")


def test_an_artifact_whose_manifests_differ_is_refused(
    host: str, name: str, work: Path, tmp_path: Path
) -> None:
    uri = uri_of(host, name)
    publish(work, uri)
    told = manifest(uri)
    told["layers"] = [
        layer(b"other", **one["annotations"]) if one["annotations"][TITLE] == "config.json" else one
        for one in told["layers"]
    ]
    push(uri_of(host, name, "changed"), told, b"other")
    with pytest.raises(StageError, match=r"config\.json: speechless\.json and") as caught:
        fetch(uri_of(host, name, "changed"), tmp_path / "in")
    assert caught.value.reason is FailureReason.DIGEST_MISMATCH


def test_another_digest_than_asked_for(host: str, name: str, work: Path, tmp_path: Path) -> None:
    publish(work, uri_of(host, name))
    with pytest.raises(StageError, match="asked for is sha256:0000"):
        fetch(uri_of(host, name), tmp_path / "in", "sha256:" + "0" * 64)


# --------------------------------------------------------------------------------------------- several, killed, and cut


@pytest.mark.parametrize("same", [True, False], ids=["same", "different"])
def test_publishers_at_the_same_time_leave_one_artifact(
    host: str, name: str, work: Path, tmp_path: Path, same: bool
) -> None:
    works = [work, work, work]
    if not same:
        works = [Path(shutil.copytree(work, tmp_path / f"work-{number}")) for number in range(3)]
        for number, folder in enumerate(works):
            (folder / "config.json").write_text(f"{number}")
    way = InRegistry(host, name).way("out")
    running = [child("publish", way, folder) for folder in works]
    results = [told(process) for process in running]
    assert [result for result in results if "digest" not in result] == []
    assert len({result["digest"] for result in results}) == 1
    assert fetch(way.uri, tmp_path / "in").digest == results[0]["digest"]


@of_a_killed_client
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_publisher_killed_at_any_request_leaves_it_whole_or_absent(
    host: str, name: str, work: Path, tmp_path: Path, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci, "SETTLE", 0)
    kill_publishers(InRegistry(host, name), work, tmp_path, after=after)


@of_a_killed_client
def test_a_reader_killed_at_any_request_goes_on(host: str, name: str, work: Path, tmp_path: Path) -> None:
    kill_readers(InRegistry(host, name), work, tmp_path)


@pytest.mark.parametrize("seed", range(5))
def test_random_faults_leave_it_whole_or_told(
    host: str, name: str, work: Path, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci, "SETTLE", 0)
    inject_faults(InRegistry(host, name), work, tmp_path, monkeypatch, seed)


# ---------------------------------------------------------------------------------------------------------- checkpoints


def checkpoints(host: str, name: str, machine: Path) -> Any:
    """Those of a run on one machine: nothing of it is on another."""
    return store_for(uri_of(host, name)).checkpoints(uri_of(host, name), machine)


def tags(host: str, name: str) -> list[str]:
    return sorted(requests.get(f"http://{host}/v2/{name}/tags/list", timeout=10).json().get("tags") or [])


def test_a_checkpoint_is_resumed_on_another_machine(host: str, name: str, tmp_path: Path) -> None:
    one = checkpoints(host, name, tmp_path / "one")
    for step in (5, 10, 15):
        checkpoint(one.folder, step)
        one.save(step, "me")
        one.prune(2, "me")
    assert tags(host, name) == ["1a2b.checkpoint-10", "1a2b.checkpoint-15"]
    other = checkpoints(host, name, tmp_path / "other")
    found = other.newest("me")
    assert found
    assert (found.step, found.path) == (15, tmp_path / "other" / "checkpoint-15")
    assert digest_tree(found.path) == digest_tree(tmp_path / "one" / "checkpoint-15")
    assert checkpoints(host, name, tmp_path / "third").newest("another run") is None
    other.clear()
    assert tags(host, name) == []
    assert not other.folder.exists()


def test_a_step_that_is_spared_is_taken_on_another_machine(host: str, name: str, tmp_path: Path) -> None:
    one = checkpoints(host, name, tmp_path / "one")
    for step in (5, 10, 15):
        checkpoint(one.folder, step)
        one.save(step, "me")
        one.prune(1, "me", {5})
    other = checkpoints(host, name, tmp_path / "other")
    found = other.take(5, "me")
    assert found == (5, tmp_path / "other" / "checkpoint-5")
    assert digest_tree(found.path) == digest_tree(tmp_path / "one" / "checkpoint-5")
    assert other.take(10, "me") is None
    assert other.take(15, "another run") is None
    other.clear()


def test_a_registry_that_removes_nothing(
    work: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port, folder = free_port(), tmp_path / "registry"
    folder.mkdir()
    with registry.serving(None, folder, port):
        one = checkpoints(f"127.0.0.1:{port}", "team/model", tmp_path / "one")
        for step in (1, 2, 3):
            checkpoint(one.folder, step)
            one.save(step, "me")
            one.prune(1, "me")
        assert "removes no checkpoints" in caplog.text
        found = checkpoints(f"127.0.0.1:{port}", "team/model", tmp_path / "other").newest("me")
        assert found
        assert found.step == 3
