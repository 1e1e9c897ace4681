"""The cache of a machine: a source is brought once, whole and unchanged, whoever else is at work or was killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from aiohttp import web

from speechless.contract import FailureReason, Format
from speechless.data.places import locate_data
from speechless.errors import StageError
from speechless.store import ManifestFields, cache_folder, digest_tree, store_for
from speechless.store.cache import machine_cache
from speechless.store.clients import connect_bucket
from tests.store.proxy import Fault, Proxy
from tests.support import s3
from tests.support.wait import wait_for

pytestmark = pytest.mark.timeout(600)
MB = 1_000_000
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache. What this process used of it is let go of at the end."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SPEECHLESS_CACHE_DIR", str(folder))
    yield folder
    let_go()


def let_go() -> None:
    """As the end of the process does it."""
    for handle in cache_folder._used.values():
        os.close(handle)
    cache_folder._used.clear()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process that locates a URI, and uses it until it is told to end."""
    running: list[subprocess.Popen[str]] = []

    def go(uri: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        (tmp_path / "busy").touch()
        argv = [sys.executable, "-m", "tests.store.child", "locate", uri, str(tmp_path / "busy")]
        running.append(subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True))
        return running[-1]

    yield go
    for process in running:
        process.kill()
        process.communicate(timeout=10)


def told(process: subprocess.Popen[str]) -> Any:
    """The first line of it."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"it ended with status {process.wait(10)}"
    return json.loads(line)


def put(bucket: Path, name: str, size: int, *, letter: str = "x") -> str:
    """Put a plain object of this size, in the place of what is there; its URI."""
    uri = f"s3://{bucket.name}/{name}"
    obstore.put(connect_bucket(uri, "s3", bucket.name, os.environ), name, (letter * size).encode())
    return uri


def content(proxy: Proxy, word: str) -> list[str]:
    """The requests for bytes of an object."""
    return [asked for asked in proxy.requests if asked.startswith("GET") and word in asked]


def held() -> list[str]:
    return [uri for entry in machine_cache().entries() for uri in entry.uris]


# ---------------------------------------------------------------------------------------------- brought once, unchanged


def test_a_source_is_brought_once(
    server: s3.Server, bucket: Path, work: Path, cache: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(work, bucket / "plain")
    uri = f"s3://{bucket.name}/plain"
    with Proxy(server.endpoint) as proxy:
        first = told(start(uri, s3.use(server, proxy.url)))
        assert first["digest"] == digest_tree(work)[0]
        assert Path(first["path"]).is_relative_to(cache)
        assert content(proxy, "weights")
        proxy.requests.clear()
        assert told(start(uri, s3.use(server, proxy.url))) == first
        assert content(proxy, "weights") == []
        # The same bytes elsewhere are read, and kept once.
        shutil.copytree(work, bucket / "again")
        again = told(start(f"s3://{bucket.name}/again", s3.use(server, proxy.url)))
        assert again == first
    assert sorted(held()) == [f"s3://{bucket.name}/again", uri]
    assert len(list((cache / "entries").iterdir())) == 1
    assert list((cache / "partial").iterdir()) == []


def test_a_source_that_changed_is_read_anew(bucket: Path) -> None:
    uri = put(bucket, "rows.jsonl", 10)
    before = locate_data(uri).path
    assert (before.name, before.read_text()) == ("rows.jsonl", "x" * 10)
    put(bucket, "rows.jsonl", 10, letter="y")
    assert locate_data(uri).path.read_text() == "y" * 10
    assert before.read_text() == "x" * 10, "whoever uses the old one still has it"


def test_an_artifact_is_known_by_its_digest(
    server: s3.Server, bucket: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = [f"s3://{bucket.name}/{name}" for name in ("one", "two")]
    for uri in uris:
        store_for(uri).publish(work, uri, ManifestFields(format=Format.DATASET))
    with Proxy(server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        first = locate_data(uris[0]).path
        assert digest_tree(first) == digest_tree(work)
        proxy.requests.clear()
        assert locate_data(uris[1]).path == first
        assert content(proxy, "weights") == []


def test_the_same_name_on_another_server_is_another_source(
    server: s3.Server,
    bucket: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also when one of them is away: then what it had last is taken, and never what the other has."""
    uri = put(bucket, "rows.jsonl", 10)
    assert locate_data(uri).path.read_text() == "x" * 10
    monkeypatch.setattr("speechless.store.clients._retries", lambda: {"max_retries": 0})
    (tmp_path / "other").mkdir()
    with s3.serving(tmp_path / "other") as other:
        monkeypatch.setenv("AWS_ENDPOINT_URL", other.endpoint)
        put(other.bucket(bucket.name), "rows.jsonl", 10, letter="z")
        assert locate_data(uri).path.read_text() == "z" * 10
        unread = put(bucket, "unread.jsonl", 10)
    assert not caplog.records
    assert locate_data(uri).path.read_text() == "z" * 10
    assert "from the cache, as it was when it was read last" in caplog.text
    with pytest.raises(StageError, match=unread) as caught:
        locate_data(unread)
    assert caught.value.reason is FailureReason.STORE_UNAVAILABLE
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    assert locate_data(uri).path.read_text() == "x" * 10


def test_a_source_that_changes_while_it_is_read_is_no_mixture(
    server: s3.Server, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six files that belong together are put anew when some are read: when the sixth is asked for."""
    for number in range(6):
        uri = put(bucket, f"set/{number}.jsonl", 1000).rpartition("/")[0]
    changed: list[int] = []
    direct = connect_bucket(uri, "s3", bucket.name, dict(os.environ))

    def decide(number: int, request: web.BaseRequest) -> Fault:
        if not changed and request.method == "GET" and "5.jsonl" in request.raw_path:
            changed.append(number)
            for each in range(6):
                obstore.put(direct, f"set/{each}.jsonl", b"y" * 1000)
        return Fault.NONE

    with Proxy(server.endpoint, decide) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        path = locate_data(uri).path
    assert changed
    assert {file.read_text() for file in path.iterdir()} == {"y" * 1000}


@pytest.mark.parametrize("other_first", [False, True], ids=["same", "other"])
@pytest.mark.parametrize("how", ["altered", "cut", "removed", "only-touched"])
def test_a_copy_that_was_changed_is_never_used(
    bucket: Path, caplog: pytest.LogCaptureFixture, how: str, other_first: bool
) -> None:
    uri = put(bucket, "set/rows.jsonl", 1000).rpartition("/")[0]
    other = put(bucket, "other/rows.jsonl", 1000).rpartition("/")[0]
    file = locate_data(uri).path / "rows.jsonl"
    assert not file.stat().st_mode & 0o222, "written by mistake, it says no"
    file.chmod(0o644)
    if how == "altered":
        times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
        file.write_text("y" * 1000)
        os.utime(file, ns=times)
    elif how == "cut":
        file.write_text("x" * 999)
    elif how == "removed":
        file.unlink()
    if other_first:  # which has the same digest, and is not known yet
        assert (locate_data(other).path / "rows.jsonl").read_text() == "x" * 1000
    assert (locate_data(uri).path / "rows.jsonl").read_text() == "x" * 1000
    assert ("was changed: it is read anew" in caplog.text) == (how != "only-touched")


# ------------------------------------------------------------------------------------------------------ killed, and two


def killed_at_the_last_of_six(proxy: Proxy, server: s3.Server, bucket: Path, start: Start) -> str:
    """Start to read six objects of a MB, and be killed when the last is asked for; the URI."""
    for number in range(6):
        uri = put(bucket, f"set/{number}.jsonl", MB, letter=str(number)).rpartition("/")[0]
    process: list[subprocess.Popen[str]] = []

    def decide(number: int, request: web.BaseRequest) -> Fault:
        if request.method == "GET" and "5.jsonl" in request.raw_path:
            os.kill(process[0].pid, signal.SIGKILL)
            return Fault.CUT_REQUEST
        return Fault.NONE

    proxy.decide = decide
    process.append(start(uri, s3.use(server, proxy.url)))
    assert process[0].wait(60) == -signal.SIGKILL
    proxy.decide = lambda _number, _request: Fault.NONE
    return uri


def downloads(cache: Path) -> list[Path]:
    """Those that did not end."""
    return [path for path in (cache / "partial").iterdir() if path.is_dir()]


def test_a_download_that_was_killed_goes_on(
    server: s3.Server, bucket: Path, cache: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain objects, whose digests nobody tells: those that came are not read again."""
    with Proxy(server.endpoint) as proxy:
        uri = killed_at_the_last_of_six(proxy, server, bucket, start)
        assert held() == []
        (torn,) = downloads(cache)
        came = {file.name for file in (torn / "in").iterdir() if not file.name.startswith(".")}
        proxy.requests.clear()
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        path = locate_data(uri).path
        read = {f"{number}.jsonl" for number in range(6) if content(proxy, f"{number}.jsonl")}
    assert digest_tree(path) == digest_tree(bucket / "set")
    assert came, "four are read at a time, so two were here when the sixth was asked for"
    assert "5.jsonl" in read
    assert not read & came
    assert sorted(file.name for file in path.iterdir()) == [f"{number}.jsonl" for number in range(6)]


def test_two_at_once_bring_it_once(server: s3.Server, bucket: Path, start: Start) -> None:
    uri = put(bucket, "rows.jsonl", 20 * MB)

    def decide(_number: int, request: web.BaseRequest) -> Fault:
        return Fault.SLOW if request.method == "GET" and "rows" in request.raw_path else Fault.NONE

    with Proxy(server.endpoint, decide) as proxy:
        both = [start(uri, s3.use(server, proxy.url)) for _ in range(2)]
        results = [told(process) for process in both]
        asked = content(proxy, "rows.jsonl")
    assert results[0] == results[1]
    # Ranges of the file, each of them once.
    assert len(asked) <= -(-20 * MB // (8 << 20))


def test_one_waits_for_the_other_and_takes_over_when_that_is_killed(
    server: s3.Server, bucket: Path, start: Start
) -> None:
    uri = put(bucket, "rows.jsonl", 1000)
    both: list[subprocess.Popen[str]] = []

    def decide(_number: int, request: web.BaseRequest) -> Fault:
        if request.method == "GET" and "rows" in request.raw_path and both[0].poll() is None:
            if len(both) == 1:
                both.append(start(uri))
            os.kill(both[0].pid, signal.SIGKILL)
            return Fault.CUT_REQUEST
        return Fault.NONE

    with Proxy(server.endpoint, decide) as proxy:
        both.append(start(uri, s3.use(server, proxy.url)))
        both[0].wait(60)
        assert told(both[1])["digest"] == digest_tree(bucket / "rows.jsonl")[0]


# --------------------------------------------------------------------------------------------------------------- limits


def test_the_last_used_stay(
    bucket: Path, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEECHLESS_CACHE_SIZE", "25KB")
    uris = [put(bucket, f"{letter}.jsonl", 10_000, letter=letter) for letter in "abc"]
    for uri in (uris[0], uris[1], uris[0]):
        locate_data(uri)
        let_go()
    locate_data(uris[2])
    assert sorted(held()) == [uris[0], uris[2]]
    let_go()
    # What another command uses stays, although it was used longest ago.
    busy = start(uris[0])
    path = Path(told(busy)["path"])
    locate_data(uris[2])
    let_go()
    os.utime(path.parents[1] / "lock", (1, 1))
    locate_data(uris[1])
    assert sorted(held()) == [uris[0], uris[1]]
    assert path.read_text() == "a" * 10_000
    (tmp_path / "busy").unlink()
    busy.wait(10)


def test_what_does_not_fit_is_refused_and_nothing_goes_for_it(
    bucket: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEECHLESS_CACHE_SIZE", "25 kB")
    small, large = put(bucket, "small.jsonl", 10_000), put(bucket, "large.jsonl", 26_000)
    locate_data(small)
    let_go()
    with pytest.raises(StageError, match=r"0\.03 MB allowed; nothing more can be removed") as caught:
        locate_data(large)
    assert caught.value.reason is FailureReason.STORE_FULL
    assert "SPEECHLESS_CACHE_SIZE" in caught.value.hint
    assert held() == [small]
    told(start(small))
    with pytest.raises(StageError, match="do not fit"):
        locate_data(put(bucket, "other.jsonl", 20_000))
    assert held() == [small], "a command uses it"


def test_what_a_killed_download_left_goes_too(
    server: s3.Server, bucket: Path, cache: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEECHLESS_CACHE_SIZE", "8.5MB")
    with Proxy(server.endpoint) as proxy:
        killed_at_the_last_of_six(proxy, server, bucket, start)
    assert downloads(cache)
    other = put(bucket, "other.jsonl", 8 * MB)
    locate_data(other)
    assert held() == [other]
    assert not downloads(cache)


def test_a_disk_that_is_full_is_told(bucket: Path, cache: Path) -> None:
    uri = put(bucket, "rows.jsonl", 3 * MB)
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
    argv = [
        "-c",
        f"{limited}import sys; from speechless.data.__main__ import main; sys.exit(main(['check', '{uri}']))",
    ]
    done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("speechless data: ")]
    assert uri in line
    assert "free some space on this machine" in line


def test_a_cache_that_cannot_be_written_is_told(
    bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPEECHLESS_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(StageError, match=r"the cache of sources cannot be used: .*Not a directory") as caught:
        locate_data(put(bucket, "rows.jsonl", 10))
    assert "SPEECHLESS_CACHE_DIR" in caught.value.hint


# ------------------------------------------------------------------------------------------------------------- commands


def speechless(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)


ROW = '{"prompt": "sum x", "completion": " return 1"}\n'


def test_data_are_checked_where_they_are(bucket: Path, tmp_path: Path) -> None:
    (bucket / "rows").mkdir()
    (bucket / "rows" / "a.jsonl").write_text(ROW * 3)
    (bucket / "rows" / "b.jsonl").write_text(ROW * 4)
    (tmp_path / "here.jsonl").write_text(ROW * 5)
    one = tmp_path / "one.jsonl"
    one.write_text(ROW)
    words = f"s3://{bucket.name}/rows,{tmp_path}/here.jsonl,s3://{bucket.name}/rows/a.jsonl,{one.as_uri()}"
    done = speechless("speechless.data", "check", words, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 3 + 4 + 5 + 3 + 1
    out = tmp_path / "out.jsonl"
    done = speechless("speechless.data", "convert", f"s3://{bucket.name}/rows", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert len(out.read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("s3://{bucket}/nothing", "s3://{bucket}/nothing: nothing is there (check the URI"),
        ("s3://no-such-bucket/x", "there is no such bucket"),
        ("ftp://x/y", "ftp://x/y has the scheme 'ftp'"),
        ("pvc://claim/x", "names the claim 'claim', which is not mounted"),
        ("file:///nowhere/x.jsonl", "/nowhere/x.jsonl: No such file or directory"),
        ("s3://{bucket}/a/../b", "leads out of its place"),
    ],
)
def test_what_cannot_be_had_is_one_line(bucket: Path, word: str, said: str) -> None:
    done = speechless("speechless.data", "check", word.format(bucket=bucket.name))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("speechless data: ")]
    assert said.format(bucket=bucket.name) in line


def test_credentials_that_are_wrong_are_one_line(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = put(bucket, "rows.jsonl", 10)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    done = speechless("speechless.data", "check", uri)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("speechless data: ")]
    assert f"{uri} cannot be read with those of AWS_ACCESS_KEY_ID" in line


def test_the_cache_is_listed_cleared_and_checked(
    bucket: Path, cache: Path, start: Start, tmp_path: Path
) -> None:
    uris = [put(bucket, f"{letter}.jsonl", 10_000, letter=letter) for letter in "abc"]
    files = [locate_data(uri).path for uri in uris]
    let_go()
    found = json.loads(speechless("speechless.store", "cache", "list", "-o", "json").stdout)
    assert sorted(each["uris"] for each in found["sources"]) == [[uri] for uri in uris]
    assert {each["size_bytes"] for each in found["sources"]} == {10_000}
    assert not any(each["in_use"] for each in found["sources"])
    assert found["folder"] == str(cache)
    assert found["limit_bytes"] > 0
    busy = start(uris[0])
    told(busy)
    done = speechless("speechless.store", "cache", "clear", uris[0])
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        f"speechless store: {uris[0]}: a command uses it now (try again when it has ended)",
    )
    done = speechless("speechless.store", "cache", "clear", "s3://nothing/of-it")
    assert done.returncode == 1
    assert "the cache has nothing of it" in done.stderr
    files[1].chmod(0o644)
    files[1].write_text("y" * 10_000)
    done = speechless("speechless.store", "cache", "check")
    assert done.returncode == 1
    assert [
        line
        for line in done.stdout.splitlines()
        if line.startswith("damaged, and removed") and uris[1] in line
    ]
    done = speechless("speechless.store", "cache", "clear")
    assert done.returncode == 0
    assert held() == [uris[0]]
    (tmp_path / "busy").unlink()
    busy.wait(10)
    done = speechless("speechless.store", "cache", "clear")
    assert done.returncode == 0
    assert held() == []
    wait_for(lambda: not list((cache / "removed").iterdir()), "what was removed to be gone", timeout=10)
    assert speechless("speechless.store", "cache", "list", uris[0]).returncode == 1


def test_a_size_that_is_none_is_told(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECHLESS_CACHE_SIZE", "plenty")
    done = speechless("speechless.store", "cache", "list")
    assert done.returncode == 1
    assert "SPEECHLESS_CACHE_SIZE: 'plenty' is no size" in done.stderr
