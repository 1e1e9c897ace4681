"""The process around one sample: starts it confined, waits for its verdict, and leaves nothing of it alive.

Run by `pool.run` as a program in a fresh interpreter with an empty environment. Standard input: a job, marshalled.
Standard output: `{"verdict", "result"}`, or with `"probe": True` the isolation that this machine allows. Any other
end is an error of the sandbox itself, never of the sample.

It runs once a sample, so it imports little: no dataclasses, no typing, no json, which would take longer than the rest.
"""

from __future__ import annotations

import marshal
import math
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

PACKAGE_ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../.."))
sys.path.insert(0, PACKAGE_ROOT)
from speechless.eval.sandbox import kernel, landlock, seccomp  # noqa: E402

sys.path.remove(PACKAGE_ROOT)

MESSAGE_LIMIT = 2000
"""Characters of a failure's message that are kept."""
KILL_SECONDS = 10
REPORT_BYTES = 4 * MESSAGE_LIMIT + 256
SYSTEM_PATHS = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", "/dev/zero",
    "/sys/devices/system/cpu",
)  # fmt: skip


def main() -> int:
    """Run the job on standard input and print how it ended."""
    job = marshal.load(sys.stdin.buffer)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    if job.get("probe"):
        answer = probe(job["folder"])
    else:
        verdict, result = supervise(job)
        answer = {"verdict": verdict, "result": result}
    marshal.dump(answer, sys.stdout.buffer)
    return 0


# -------------------------------------------------------------------------------------------- the outer process


def supervise(job: dict[str, Any]) -> tuple[str, str]:
    """Fork the sample, wait until it reported, ended or ran out of time, and kill whatever it left."""
    limits = job["limits"]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        sample(job, limits, writer)
    os.close(writer)
    deadline = time.monotonic() + limits["wall_seconds"]
    ended = os.pidfd_open(child)
    in_time = _wait(ended, deadline)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    kill_descendants()
    os.set_blocking(reader, False)
    try:
        report = os.read(reader, REPORT_BYTES)
    except BlockingIOError:
        report = b""
    token = job["token"].encode()
    if report.startswith(token):
        result = report[len(token) :].decode(errors="replace")
        return "passed" if result == "passed" else "failed", result
    # The soft limit's signal, or the hard limit's SIGKILL for a sample that ignores it.
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status)
    used_up = killed == signal.SIGKILL and usage.ru_utime + usage.ru_stime >= limits["cpu_seconds"] * 0.9
    if not in_time or killed == signal.SIGXCPU or used_up:
        return "timed out", "timed out"
    return "failed", f"failed: the process ended ({_how(status)}) before its last test"


def _wait(descriptor: int, deadline: float) -> bool:
    """Wait until a process (its pidfd) ends; False: it did not in time."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit status {os.WEXITSTATUS(status)}"


def kill_descendants() -> None:
    """Kill and reap every descendant. Orphans become children of this process, which is their subreaper."""
    deadline = time.monotonic() + KILL_SECONDS
    while time.monotonic() < deadline:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        # Stopped first, killed then: a stopped process forks no more, but still counts against RLIMIT_NPROC, so that
        # the others soon cannot either.
        stopped: set[int] = set()
        while (found := _descendants()) - stopped and time.monotonic() < deadline:
            for pid in found - stopped:
                _signal(pid, signal.SIGSTOP)
            stopped |= found
        for pid in stopped:
            _signal(pid, signal.SIGKILL)
    raise TimeoutError(f"processes that a sample started could not be killed in {KILL_SECONDS} s")


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended by itself meanwhile


def _descendants() -> set[int]:
    """All processes below this one (proc(5): the parent is the fourth field of stat, after the name in brackets)."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    above = [os.getpid()]
    while above:
        below = children.get(above.pop(), [])
        found.update(below)
        above += below
    return found


# -------------------------------------------------------------------------------------------------- the sample


def sample(job: dict[str, Any], limits: dict[str, Any], writer: int) -> NoReturn:
    """Confine this process, run the program and report; never returns."""
    try:
        os.setsid()
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        # Everything open but the report's pipe: the supervisor's standard output and error, for one.
        errors = os.dup(2)
        os.set_inheritable(errors, False)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.chdir(job["folder"])
        confine(job["isolation"], limits, job["folder"])
    except BaseException as problem:  # noqa: BLE001 - whatever it is, the sample must not run, and the log says why
        os.write(errors, f"the sandbox could not be made: {type(problem).__name__}: {problem}\n".encode())
        os._exit(1)
    close_others(writer)
    execute(job["program"], job["token"], writer)


def close_others(keep: int) -> None:
    """Close every descriptor above standard error but one."""
    os.closerange(3, keep)
    os.closerange(keep + 1, max(keep + 2, 4096))


def execute(program: str, token: str, writer: int) -> NoReturn:
    """Run the program to its end and send token and result.

    The functions that are needed afterwards are held in local names: the program may replace those in `os`.
    """
    write, leave, fault, identity, own = os.write, os._exit, BaseException, os.getpid, os.getpid()
    head, limit = token.encode(), MESSAGE_LIMIT
    del token
    try:
        # Nothing in the globals, like openai/human-eval: `__name__` is not "__main__".
        exec(compile(program, "<sample>", "exec"), {})
        result = "passed"
    except fault as problem:
        try:
            result = f"failed: {problem}"[:limit]
        except fault:
            result = "failed: an exception whose message raises another"
    if identity() == own:  # a copy that the program forked has no say
        write(writer, head + result.encode("utf-8", "replace"))
    leave(0)


def confine(isolation: dict[str, str], limits: dict[str, Any], folder: str) -> None:
    """Limits first, then privileges, network, files and at last system calls; an error if one does not hold."""
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    if isolation["network"] == "namespace":
        kernel.enter_empty_network()
    seconds = math.ceil(limits["cpu_seconds"])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory_bytes"], limits["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_bytes"], limits["file_bytes"]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits["open_files"], limits["open_files"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if isolation["processes"] == "kill":
        processes = _tasks_of(os.getuid()) + limits["processes"]
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if isolation["files"] == "landlock":
        readable = {*SYSTEM_PATHS, sys.prefix, sys.base_prefix, *filter(None, sys.path)}
        landlock.confine(readable=sorted(readable), writable=(folder, os.devnull))
    if isolation["processes"] == "seccomp":
        seccomp.install()


def _tasks_of(uid: int) -> int:
    """Threads of one user that run now: what RLIMIT_NPROC counts."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
    return count


# --------------------------------------------------------------------------------------------------- the probe


def probe(folder: str) -> dict[str, str]:
    """What can be had here, each found out by a process that does it and ends."""

    def files() -> None:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        landlock.confine(readable=["/usr"], writable=[folder])

    def calls() -> None:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.install()

    def network() -> None:
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
        kernel.enter_empty_network()

    filtered = _works(calls)
    isolated = "seccomp" if filtered else "namespace" if _works(network) else "none"
    return {
        "processes": "seccomp" if filtered else "kill",
        "network": isolated,
        "files": "landlock" if _works(files) else "user",
    }


def _works(action: Any) -> bool:
    child = os.fork()
    if child == 0:
        try:
            action()
        except OSError:
            os._exit(1)
        except BaseException:  # noqa: BLE001 - a fork must not go on as a second supervisor
            os._exit(2)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in {0, 1}:
        raise RuntimeError(f"{action.__name__}: the probe ended with {status}")
    return status == 0


if __name__ == "__main__":
    sys.exit(main())
