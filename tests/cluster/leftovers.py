"""What a cluster could leave on a machine, as a set of lines to compare before and after."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
from pathlib import Path

OTHERS = re.compile(r"slc\d+[hn]|speechless[-_]|speechless-cluster|veth|proto|/pytest-")
"""Names of what others may bring up or down meanwhile, other tests too; our own are looked for by `of_instance`."""


def _out(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def listing() -> set[str]:
    """Links, namespaces, nftables tables, mounts, routes, control groups and processes of the whole machine."""
    found = {f"link {link['ifname']}" for link in json.loads(_out("ip", "-j", "link"))}
    found |= {f"route {r['dst']} {r['dev']}" for r in json.loads(_out("ip", "-j", "route")) if "dev" in r}
    netns = Path("/run/netns")
    found |= {f"netns {p.name}" for p in netns.iterdir()} if netns.is_dir() else set()
    found |= {f"nft {line}" for line in _out("nft", "list", "tables").splitlines()}
    mounts = {line.split()[4] for line in _mountinfo()}
    # `ip netns add` mounts this folder when it makes the first namespace since the machine's start, and leaves it.
    found |= {f"mount {path}" for path in mounts - {str(netns)}}
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        found |= {f"cgroup {folder}/{name}" for name in names if Path(folder, name).exists()}
    found.add(f"ip_forward {_forwarding()}")
    return found


def _mountinfo() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def _forwarding() -> str:
    """What forwarding is with no instance up: it belongs to all of them, and the last `down` puts it back as noted.

    Read under the lock of `up` and `down`: those of other tests run beside ours.
    """
    runtime = Path("/run/speechless-cluster")
    with open(runtime.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        note = runtime.with_suffix(".ip_forward")
        others = runtime.is_dir() and any(runtime.iterdir())
        now = note if others and note.exists() else Path("/proc/sys/net/ipv4/ip_forward")
        return now.read_text().strip()


def _number_of_another(name: str, index: int) -> bool:
    """Whether another instance is up with that number. After a `down` it is free: a test beside ours may take it."""
    for file in Path("/run/speechless-cluster").glob("*/instance.json"):
        try:
            if file.parent.name != name and json.loads(file.read_text())["index"] == index:
                return True
        except FileNotFoundError:  # it is down since
            continue
    return False


def of_instance(name: str, index: int) -> list[str]:
    """Everything on the machine that carries the instance's name or number, processes included."""
    words = rf"speechless-{name}\b|speechless-cluster/{name}\b"
    number = rf"slc{index}[hn]\b|speechless_{index}\b"
    # An `up` is recorded before its link is made, a `down` after it is gone: asked before and after the listing, and
    # no instance can hide between.
    taken = _number_of_another(name, index)
    lines = listing()
    taken |= _number_of_another(name, index)
    mine = re.compile(words if taken else f"{words}|{number}")
    found = [line for line in lines if mine.search(line)]
    for proc in Path("/proc").iterdir():
        if proc.name.isdigit():
            try:
                command = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                groups = (proc / "cgroup").read_text()
                state = (proc / "stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state == "Z":  # dead already: it waits for the machine's init to take note
                continue
            if f"speechless-{name}" in groups or (command and mine.search(command)):
                found.append(f"process {proc.name} {command[:80]}")
    return sorted(found)


def new_since(before: set[str]) -> list[str]:
    """What is there now and was not before, but for what other instances and other programs did."""
    roots = {line.split()[4] for line in _mountinfo() if re.search(r" - cgroup2? ", line)}
    found = (line for line in listing() - before if not OTHERS.search(line))
    return sorted(line for line in found if not of_another_program(line, before, roots))


def of_another_program(line: str, before: set[str], roots: set[str]) -> bool:
    """Whether a new control group is inside one that somebody else had already: an init system adds some all the time.

    A cluster's own groups begin at the root of a hierarchy, one of `roots`.
    """
    kind, _, path = line.partition(" ")
    above = [str(parent) for parent in Path(path).parents if str(parent) not in roots]
    return kind == "cgroup" and any(f"cgroup {parent}" in before for parent in above)
