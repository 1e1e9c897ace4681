"""A part of a source, by patterns of names: out of a bucket and out of a registry, with the same digest from both."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import FailureReason, Source
from speechless.errors import StageError
from speechless.store import digest_tree, store_for
from tests.store.acts import publish
from tests.store.proxy import Proxy
from tests.store.registries import TITLE, layer, manifest_with, push
from tests.support import s3

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=["s3", "oci"])
def uri(request: pytest.FixtureRequest, host: str, bucket: Path, alone_with_registries: None) -> str:
    """Where an artifact of this test goes."""
    return {"s3": f"s3://{bucket.name}/models/a", "oci": f"oci://{host}/models/{bucket.name}:a"}[
        request.param
    ]


@pytest.fixture
def work(work: Path) -> Path:
    (work / "original").mkdir()
    (work / "original" / "other.json").write_text("[]")
    return work


def fetch(uri: str, into: Path, **more: Any) -> Any:
    return store_for(uri).open(Source(uri=uri, **more), into)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.json"], [], {"config.json", "original/other.json"}),
        (["*.json", "empty"], ["original/*"], {"config.json", "empty"}),
        ([], ["*.bin", "original/", "sub/*"], {"config.json", "empty"}),
        (["sub/"], [], {"sub/a b%c+d?ü.txt"}),
    ],
)
def test_what_is_chosen_comes_and_nothing_else(
    uri: str, work: Path, tmp_path: Path, include: list[str], exclude: list[str], expected: set[str]
) -> None:
    made = publish(work, uri)
    opened = fetch(uri, tmp_path / "in", include=include, exclude=exclude)
    assert names(opened.path) == expected, "a part is no artifact: it has no manifest"
    assert opened.digest == digest_tree(opened.path)[0]
    assert opened.digest != made.artifact.digest
    assert opened.manifest.format == made.manifest.format
    assert {entry.path for entry in opened.manifest.files} == expected
    fetch(uri, tmp_path / "in", include=include, exclude=exclude, digest=opened.digest)
    with pytest.raises(StageError, match="asked for is") as caught:
        fetch(uri, tmp_path / "in", include=include, exclude=exclude, digest=made.artifact.digest)
    assert caught.value.reason is FailureReason.DIGEST_MISMATCH


def test_patterns_that_choose_nothing_are_told_with_what_is_there(
    uri: str, work: Path, tmp_path: Path
) -> None:
    publish(work, uri)
    with pytest.raises(StageError) as caught:
        fetch(uri, tmp_path / "in", include=["*.gguf", "*.onnx"], exclude=["x"])
    assert caught.value.reason is FailureReason.INPUT_NOT_FOUND
    assert caught.value.message.startswith(
        f"{uri}: include *.gguf, *.onnx exclude x chooses none of 5 files: config.json, empty, original/other.json, "
    )


def test_a_part_after_the_whole_leaves_nothing_of_it(uri: str, work: Path, tmp_path: Path) -> None:
    publish(work, uri)
    fetch(uri, tmp_path / "in")
    assert "speechless.json" in names(tmp_path / "in")
    assert names(fetch(uri, tmp_path / "in", include=["config.json"]).path) == {"config.json"}


def test_only_what_is_chosen_is_asked_for(
    server: s3.Server, bucket: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"s3://{bucket.name}/plain"
    shutil.copytree(work, bucket / "plain")
    with Proxy(server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        fetch(uri, tmp_path / "in", include=["*.json"])
        assert not [asked for asked in proxy.requests if "weights" in asked]


def test_of_an_artifact_what_is_chosen_is_verified_and_no_more(
    bucket: Path, work: Path, tmp_path: Path
) -> None:
    uri = f"s3://{bucket.name}/models/a"
    publish(work, uri)
    (bucket / "models" / "a" / "weights.bin").write_bytes(b"torn")
    fetch(uri, tmp_path / "in", include=["*.json"])
    with pytest.raises(StageError, match=r"weights\.bin: 4 bytes instead of"):
        fetch(uri, tmp_path / "in", include=["weights.bin"])
    (bucket / "models" / "a" / "config.json").write_text("[]")
    with pytest.raises(StageError, match=r"config\.json: sha256"):
        fetch(uri, tmp_path / "other", include=["*.json"])


def test_a_single_object_is_chosen_by_its_name(bucket: Path, work: Path, tmp_path: Path) -> None:
    uri = f"s3://{bucket.name}/plain/config.json"
    shutil.copytree(work, bucket / "plain")
    assert fetch(uri, tmp_path / "in", include=["*.json"]).path.read_text() == "{}"
    with pytest.raises(StageError, match=r"exclude \*.json chooses none of 1 files: config.json"):
        fetch(uri, tmp_path / "in", exclude=["*.json"])


def test_of_an_archive_nothing_can_be_chosen(
    host: str, bucket: Path, tmp_path: Path, alone_with_registries: None
) -> None:
    uri = f"oci://{host}/packed/{bucket.name}:a"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("config.json"))
    media = "application/vnd.cncf.model.weight.v1.tar"
    layers = (layer(packed.getvalue(), media), layer(b"x", **{TITLE: "weights"}))
    push(uri, manifest_with(*layers), b"{}", packed.getvalue(), b"x")
    with pytest.raises(
        StageError, match="layer-0 is an archive, and include and exclude choose no files"
    ) as caught:
        fetch(uri, tmp_path / "in", include=["weights"])
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert not (tmp_path / "in").exists()


# ------------------------------------------------------------------------------------------------------ by the command


def speechless(*words: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "speechless.store", "fetch", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)


def test_a_person_fetches_a_part(uri: str, work: Path, tmp_path: Path) -> None:
    publish(work, uri)
    flags = ("--include", "*.json", "--include", "empty", "--exclude", "original/*", "-o", "json")
    done = speechless(uri, tmp_path / "copy", *flags)
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "copy") == {"config.json", "empty"}
    assert json.loads(done.stdout)["digest"] == digest_tree(tmp_path / "copy")[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "work"]


def test_a_path_is_not_read_in_part(work: Path, tmp_path: Path) -> None:
    done = speechless(work, tmp_path / "copy", "--include", "*.json")
    assert done.returncode == 1
    assert (
        "include and exclude choose files of hf, s3, gs, az and oci; file:// is read where it is"
        in done.stderr
    )
    assert not (tmp_path / "copy").exists()
