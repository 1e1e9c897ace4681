"""What a cluster could leave on a machine, as a set of lines to compare before and after."""

from __future__ import annotations

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
    found |= {f"mount {line.split()[4]}" for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        found |= {f"cgroup {folder}/{name}" for name in names if Path(folder, name).exists()}
    found.add(f"ip_forward {Path('/proc/sys/net/ipv4/ip_forward').read_text().strip()}")
    return found


def of_instance(name: str, index: int) -> list[str]:
    """Everything on the machine that carries the instance's name or number, processes included."""
    mine = re.compile(
        rf"speechless-{name}\b|speechless-cluster/{name}\b|slc{index}[hn]\b|speechless_{index}\b"
    )
    found = [line for line in listing() if mine.search(line)]
    for proc in Path("/proc").iterdir():
        if proc.name.isdigit():
            try:
                words = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                groups = (proc / "cgroup").read_text()
                state = (proc / "stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state == "Z":  # dead already: it waits for the machine's init to take note
                continue
            if f"speechless-{name}" in groups or (words and mine.search(words)):
                found.append(f"process {proc.name} {words[:80]}")
    return sorted(found)


def new_since(before: set[str]) -> list[str]:
    """What is there now and was not before, but for what other instances did."""
    return sorted(line for line in listing() - before if not OTHERS.search(line))
