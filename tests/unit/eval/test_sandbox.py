"""Programs that mean harm, run for real."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.eval.sandbox.model import MIB, Isolation, Limits, Outcome, Verdict
from speechless.eval.sandbox.pool import probe, run, run_all

LIMITS = Limits(cpu_seconds=60, memory_bytes=512 * MIB)
"""Far more time than these programs need: what they end by is what a test is about, on a busy machine, too."""
SHORT = Limits(cpu_seconds=1, memory_bytes=512 * MIB)
"""For those that end by nothing else."""
BARE = Isolation(processes="kill", network="none", files="user")
"""A machine with neither seccomp nor Landlock: the supervisor alone must do."""


@pytest.fixture(scope="module")
def isolation() -> Isolation:
    return probe()


@pytest.fixture
def strong(isolation: Isolation) -> Isolation:
    """What this test is about, or a skip where the kernel has none of it."""
    if isolation != Isolation("seccomp", "seccomp", "landlock"):
        pytest.skip(f"this machine has no seccomp or no Landlock: {isolation}")
    return isolation


def failed(outcome: Outcome, words: str = "") -> None:
    assert outcome.verdict is Verdict.FAILED
    assert words in outcome.result


@pytest.mark.parametrize(
    "program",
    [
        "x = 1",
        "open('a', 'w').write('x'); assert open('a').read() == 'x'",
        "import os; os.mkdir('d'); os.chmod('d', 0)",
        "import threading; t = threading.Thread(target=print); t.start(); t.join()",
        "import asyncio; asyncio.run(asyncio.sleep(0))",
        "import math, re, json, collections, datetime, decimal, fractions, statistics, hashlib, typing, heapq",
        "import dataclasses\n@dataclasses.dataclass\nclass A:\n    a: int = 1\nassert A().a == 1",
        "assert __name__ != '__main__'",
    ],
)
def test_what_is_right_passes(program: str, isolation: Isolation) -> None:
    assert run(program, LIMITS, isolation) == Outcome(Verdict.PASSED, "passed")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("assert 1 == 2, 'no'", "failed: no"),
        ("def", "failed: invalid syntax"),
        ("import sys; sys.exit(0)", "failed: 0"),
        ("import os; os._exit(0)", "(exit status 0) before its last test"),
        ("import os; os.abort()", "(SIGABRT) before its last test"),
        ("print('passed'); import sys; sys.stdout.flush(); import os; os._exit(0)", "exit status 0"),
        ("raise BaseException('x' * 10**6)", "failed: xxx"),
        ("class E(Exception):\n    def __str__(self): raise E\nraise E", "whose message raises another"),
        ("input()", "EOF when reading a line"),
        (
            "import os\nfor i in range(256):\n    try: os.write(i, b'passed')\n    except OSError: pass\nos._exit(0)",
            "",
        ),
        ("import os; os._exit = None; os.write = None; assert False, 'still told'", "still told"),
    ],
)
def test_a_pass_cannot_be_faked(program: str, words: str, isolation: Isolation) -> None:
    outcome = run(program, LIMITS, isolation)
    failed(outcome, words)
    assert len(outcome.result) <= 2000


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
        "while True: print('x' * 10**6)",
        "import time; time.sleep(100)",
    ],
)
def test_time_runs_out(program: str, isolation: Isolation) -> None:
    assert run(program, SHORT, isolation) == Outcome(Verdict.TIMED_OUT, "timed out")


def test_memory_and_files_are_limited(isolation: Isolation) -> None:
    failed(run("x = bytearray(1 << 30)", LIMITS, isolation))
    failed(run("x = []\nwhile True: x.append(bytearray(1 << 24))", LIMITS, isolation))
    failed(run("open('a', 'wb').write(bytes(32 << 20))", LIMITS, isolation), "File too large")
    failed(run("fs = [open('a', 'w') for _ in range(100)]", LIMITS, isolation), "Too many open files")
    failed(run("import resource as r; r.setrlimit(r.RLIMIT_CPU, (99, 99))", LIMITS, isolation), "raise")


def test_secrets_of_the_evaluator_are_out_of_reach(
    isolation: Isolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEECHLESS_TEST_SECRET", "s3cret")
    assert run("import os; assert 's3cret' not in str(os.environ)", LIMITS, isolation).passed
    for pid in ("os.getppid()", str(os.getpid())):
        program = (
            f"import os; text = open(f'/proc/{{{pid}}}/environ').read(); raise ValueError('read: ' + text)"
        )
        [outcome] = run_all([program], LIMITS, isolation)
        failed(outcome)
        assert "s3cret" not in outcome.result


def test_nothing_is_started_reached_or_deleted(strong: Isolation, tmp_path: Path) -> None:
    target = tmp_path / "keep"
    target.write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for program in (
            "import os; os.fork()",
            "import os\nwhile True: os.fork()",
            "import subprocess; subprocess.run(['/bin/true'])",
            "import os; os.execv('/bin/true', ['true'])",
            f"import socket; socket.create_connection(('127.0.0.1', {port}))",
            "import os; os.kill(os.getppid(), 9)",
            "import os; os.kill(-1, 9)",
            f"import os; os.remove({str(target)!r})",
            f"import shutil; shutil.rmtree({str(tmp_path)!r})",
            f"open({str(target)!r}).read()",
            f"open({str(tmp_path / 'new')!r}, 'w')",
            "open('/etc/passwd').read()",
            "import ctypes; assert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0",
        ):
            failed(run(program, LIMITS, strong))
    assert target.read_text() == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]


@pytest.fixture
def survivor(tmp_path: Path) -> Iterator[str]:
    """A program whose grandchild goes its own way: new session, orphaned, and it would tell by a file."""
    flag = tmp_path / "alive"
    yield (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(1.5)\n"
        f"        open({str(flag)!r}, 'w').close()\n"
        "    os._exit(0)\n"
        "time.sleep(0.3)\n"
    )
    time.sleep(2)
    assert not flag.exists()


def test_without_seccomp_a_daemon_is_killed_with_its_sample(survivor: str) -> None:
    assert run(survivor, LIMITS, BARE).passed


def test_without_seccomp_a_forked_copy_has_no_say() -> None:
    failed(
        run("import os\nif os.fork():\n    os.wait()\n    assert False, 'the parent'", LIMITS, BARE),
        "the parent",
    )


@pytest.mark.skipif(
    os.getuid() == 0, reason="the limit on processes does not hold root: the bomb would be one"
)
def test_without_seccomp_a_fork_bomb_is_put_out() -> None:
    assert not run("import os\nwhile True: os.fork()", LIMITS, BARE).passed


def test_without_seccomp_it_cannot_answer_for_a_sample_that_kills_its_supervisor() -> None:
    failed(run("import os; os.kill(os.getppid(), 9)", LIMITS, BARE), "supervisor was killed")


def test_an_empty_network_where_namespaces_are_allowed() -> None:
    program = (
        "import socket\n"
        "try:\n    socket.create_connection(('127.0.0.1', 9), timeout=1)\n"
        "except OSError as problem:\n    assert problem.errno == 101, problem\n"
    )
    try:
        outcome = run(program, LIMITS, Isolation(processes="kill", network="namespace", files="user"))
    except RuntimeError as problem:
        pytest.skip(f"no user namespaces here: {problem}")
    assert outcome.passed, outcome.result


def test_outcomes_come_in_order_with_progress(isolation: Isolation) -> None:
    programs = ["x = 1", "assert False", "import time; time.sleep(0.2)", "x = 1"]
    seen: list[int] = []
    outcomes = run_all(programs, LIMITS, isolation, workers=2, progress=seen.append)
    assert [outcome.passed for outcome in outcomes] == [True, False, True, True]
    assert seen == sorted(seen)
    assert seen[-1] == 4


def test_a_stop_ends_all_at_once(isolation: Isolation) -> None:
    started = time.monotonic()
    slow = Limits(cpu_seconds=60)
    with pytest.raises(StageError, match="of 5 samples") as stopped:
        run_all(
            ["while True: pass"] * 5,
            slow,
            isolation,
            workers=2,
            stopping=lambda: time.monotonic() - started > 1,
        )
    assert stopped.value.reason is FailureReason.INTERRUPTED


def test_the_hash_seed_is_fixed(isolation: Isolation) -> None:
    program = "raise ValueError(str({'a', 'b', 'c', 'd', 'e'}))"
    assert run(program, LIMITS, isolation) == run(program, LIMITS, isolation)
