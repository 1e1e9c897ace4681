"""The command `python -m benchmarks.store`: throughput and memory of a store, beside cp and the tools of its place.

Every tool moves the same folder in turn, in a process of its own, several rounds; the table has each one's median and
our share of the fastest. The places are versitygw, the CNCF registry and a small hub over a folder of this machine, so
disk and cores are shared by client and server: it is the ratio that counts. A tool that is not on the PATH (s5cmd, aws,
oras) or that this Python does not have (huggingface_hub) is left out, and the table says so.

`--link N` puts client and server on a link of N megabits a second: a network namespace of its own, whose loopback a
token bucket limits (tc-tbf(8)). It needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.store.places import OURS, PLACES, Place, Tool

GOAL = 0.9
INSIDE = "SPEECHLESS_BENCH_LINK"


@dataclass
class Taken:
    """The rounds of one tool."""

    seconds: list[float] = field(default_factory=list)
    peak: int = 0
    """Bytes of memory, the highest of all rounds."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__, allow_abbrev=False)
    shown = " (default: %(default)s)"
    made.add_argument("--megabytes", type=int, default=1000, help="size of the folder" + shown)
    made.add_argument("--files", type=int, default=4, help="large files in it" + shown)
    made.add_argument("--small", type=int, default=50, help="small files beside them" + shown)
    made.add_argument("--place", choices=sorted(PLACES), default="bucket", help="what is measured" + shown)
    made.add_argument("--rounds", type=int, default=3, help="rounds of each tool" + shown)
    made.add_argument("--link", type=int, metavar="MBIT", help="megabits a second between client and server")
    made.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if the goal is not reached."""
    words = list(sys.argv[1:] if argv is None else argv)
    given = parser().parse_args(words)
    if given.link is not None:
        if given.link < 1:
            parser().error(f"--link {given.link}: at least 1 megabit a second")
        limit(given.link, words)
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-store-", dir=given.folder) as folder:
        return measure(Path(folder), given)


def limit(megabits: int, words: Sequence[str]) -> None:
    """Go on in a network namespace whose loopback carries so many megabits a second; it goes with this process."""
    if os.environ.get(INSIDE) != str(os.getpid()):
        # exec keeps the pid: the variable tells this process from one that only inherited it.
        os.environ[INSIDE] = str(os.getpid())
        again = [sys.executable, "-m", "benchmarks.store", *words]
        os.execvp("unshare", ["unshare", "--net", *again])
    for line in (
        "ip link set lo up",
        f"tc qdisc add dev lo root tbf rate {megabits}mbit burst 1mb latency 100ms",
    ):
        subprocess.run(line.split(), check=True)


def measure(folder: Path, given: argparse.Namespace) -> int:
    """The table."""
    source = make(folder / "source", given.megabytes << 20, given.files, given.small)
    size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    (folder / "server").mkdir()
    results: dict[tuple[str, str], Taken] = {}
    place: Place = PLACES[given.place]
    tools = [tool for tool in place.tools if tool.there()]
    with place.serving(folder / "server", source) as environment:
        for number in range(given.rounds):
            for tool in tools[number % len(tools) :] + tools[: number % len(tools)]:
                go(results, tool, f"{tool.name}-{number}", source, folder / "into", environment)
            once(results, ("cp", "get"), ["cp", "-r", str(source), str(folder / "into")], environment)
            shutil.rmtree(folder / "into")
    return show(results, size, [tool.name for tool in place.tools if tool not in tools])


def go(
    results: dict[tuple[str, str], Taken],
    tool: Tool,
    path: str,
    source: Path,
    into: Path,
    environment: dict[str, str],
) -> None:
    """One round of one tool: there, if it can, and back."""
    if tool.put:
        once(results, (tool.name, "put"), tool.put(source, path, environment), environment)
    into.mkdir()
    once(results, (tool.name, "get"), tool.get(path, into, environment), environment)
    check(source, into)
    shutil.rmtree(into)


def make(folder: Path, size: int, files: int, small: int) -> Path:
    """Bytes that do not compress, in a few large files and many small ones."""
    folder.mkdir()
    block = os.urandom(1 << 20)
    for number in range(files):
        with (folder / f"model-{number:05}.safetensors").open("wb") as out:
            for step in range(size // files >> 20):
                out.write(step.to_bytes(8, "big") + block[8:])
    for number in range(small):
        (folder / f"part-{number:03}.json").write_bytes(block[: 10_000 + number])
    return folder


def once(
    results: dict[tuple[str, str], Taken], key: tuple[str, str], argv: list[str], env: dict[str, str]
) -> None:
    """Run it with the page cache as the last one left it; what it wrote is on the disk before the next one begins."""
    os.sync()
    began = time.monotonic()
    done = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak = 0
    while done.poll() is None:
        peak = max(peak, memory(done.pid))
        time.sleep(0.02)
    seconds = time.monotonic() - began
    output = done.stdout.read() if done.stdout else ""
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} failed:\n{output[-2000:]}")
    taken = results.setdefault(key, Taken())
    taken.seconds.append(seconds)
    taken.peak = max(taken.peak, peak)
    print(f"{key[0]:12} {key[1]:4} {seconds:7.2f} s  {peak / 2**20:6.0f} MiB", file=sys.stderr)


def memory(pid: int) -> int:
    """Bytes that a process alone holds now; 0 once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    anonymous = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
    return int(anonymous[0]) * 1024 if anonymous else 0


def check(source: Path, into: Path) -> None:
    """What came is what went."""
    found = {path.name: path.stat().st_size for path in into.rglob("*") if path.is_file()}
    for path in source.iterdir():
        assert found[path.name] == path.stat().st_size, path.name


def show(results: dict[tuple[str, str], Taken], size: int, missing: Sequence[str]) -> int:
    """One table on standard output; the exit status."""
    status = 0
    for action in ("put", "get"):
        rows = {tool: taken for (tool, kind), taken in results.items() if kind == action}
        medians = {tool: statistics.median(taken.seconds) for tool, taken in rows.items()}
        others = {tool: seconds for tool, seconds in medians.items() if tool not in {OURS, "cp"}}
        if not rows:
            continue
        print(f"{action}: {size / 1e6:.0f} MB")
        for tool, seconds in sorted(medians.items(), key=lambda pair: pair[1]):
            rate = size / seconds / 1e6
            print(f"  {tool:12} {seconds:7.2f} s {rate:7.0f} MB/s {rows[tool].peak / 2**20:6.0f} MiB")
        if others:
            share = min(others.values()) / medians[OURS]
            print(f"  {OURS} against the fastest client: {share:.2f} (goal {GOAL})")
            status |= share < GOAL
    for name in missing:
        print(f"not measured, as it is not there: {name}")
    print(json.dumps({f"{tool} {kind}": taken.seconds for (tool, kind), taken in results.items()}))
    return status


if __name__ == "__main__":
    sys.exit(main())
