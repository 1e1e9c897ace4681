"""`speechless store fetch` and `publish`, as a person calls them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from speechless.store import digest_tree

pytestmark = pytest.mark.timeout(600)


def speechless(*words: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "speechless.store", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)


def test_what_is_published_is_fetched_again(bucket: Path, work: Path, tmp_path: Path) -> None:
    uri = f"s3://{bucket.name}/models/tiny"
    put = speechless("publish", work, uri, "-o", "json")
    assert put.returncode == 0, put.stderr
    told = json.loads(put.stdout)
    assert (told["format"], told["reused"]) == ("HuggingFace", False)
    got = speechless("fetch", uri, tmp_path / "copy", "--digest", told["digest"])
    assert got.returncode == 0, got.stderr
    assert told["digest"] in got.stdout
    assert digest_tree(tmp_path / "copy") == digest_tree(work)
    assert (tmp_path / "copy" / "speechless.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "work"]
    again = speechless("publish", tmp_path / "copy", uri)
    assert again.returncode == 0, again.stderr
    assert "it was there already" in again.stdout


def test_a_path_and_a_single_file_are_copied(bucket: Path, work: Path, tmp_path: Path) -> None:
    shutil.copytree(work, bucket / "plain")
    assert speechless("fetch", work, tmp_path / "folder").returncode == 0
    assert digest_tree(tmp_path / "folder") == digest_tree(work)
    assert speechless("fetch", f"s3://{bucket.name}/plain/config.json", tmp_path / "one.json").returncode == 0
    assert (tmp_path / "one.json").read_text() == "{}"
    assert speechless("fetch", work / "config.json", tmp_path / "two.json").returncode == 0
    assert (tmp_path / "two.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fetch", "{uri}", "{work}"), "work is there already (choose another name, or remove it)"),
        (("fetch", "{uri}", "{free}"), "nothing is there (check the URI"),
        (("fetch", "ftp://x/y", "{free}"), "ftp://x/y has the scheme 'ftp'"),
        (("fetch", "{free}", "{free}-2"), "No such file or directory"),
        (("publish", "{free}", "{uri}"), "No such file or directory"),
        (("publish", "{work}/sub", "{uri}", "--format", "Dataset"), ""),
        (("publish", "{work}/empty", "{uri}"), "empty: neither a model nor a dataset"),
        (("publish", "{work}", "hf://org/name"), "artifacts cannot be published there"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    bucket: Path, work: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    names = {"uri": f"s3://{bucket.name}/nothing", "work": work, "free": tmp_path / "free"}
    done = speechless(*(word.format(**names) for word in words))
    assert "Traceback" not in done.stderr
    if not said:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("speechless store: ")]
    assert said in line
    assert not (tmp_path / "free").exists()
