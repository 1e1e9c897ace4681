"""What must be true before anything starts; each failure says what is missing and how to get it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from . import process
from .components import Component
from .errors import ClusterError
from .instance import Instance
from .namespaces import NETNS, enter_network
from .run import have, run, succeeds

TOOLS = {
    # tool: Debian package
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "openssl": "openssl",
    "sysctl": "procps",
    "debootstrap": "debootstrap",
    "dpkg-deb": "dpkg",
}
GIB = 1 << 30


def root() -> None:
    """Namespaces, mounts and control groups are root's."""
    if sys.platform != "linux":
        raise ClusterError(
            f"the cluster needs Linux; this is {sys.platform}",
            "use a Linux machine, or your own cluster's KUBECONFIG",
        )
    if os.geteuid() != 0:
        raise ClusterError(
            "the cluster needs root: it makes namespaces, mounts and control groups",
            "run it with sudo, or as root",
        )
    if not succeeds(["unshare", "--mount", "--net", "true"]):
        raise ClusterError(
            "this root may not make namespaces (a container without CAP_SYS_ADMIN?)",
            "run it on the machine itself",
        )


def tools(say: Callable[[str], None]) -> None:
    """Install what is missing where apt is at hand, else name it."""
    packages = sorted({package for tool, package in TOOLS.items() if not have(tool)})
    if not packages:
        return
    if not have("apt-get") or os.geteuid() != 0:
        raise ClusterError(
            f"missing tools, by Debian package: {' '.join(packages)}", f"apt-get install {' '.join(packages)}"
        )
    say(f"installing {' '.join(packages)} (apt)")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-q"], env=env, timeout=600)
    run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages], env=env, timeout=900)


def room(instance: Instance) -> None:
    """Memory and disk: below these the components themselves fail, with worse words."""
    memory = int(re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024  # type: ignore[index]
    wanted = (4 if instance.nodes else 1) * GIB
    if memory < wanted:
        raise ClusterError(
            f"{memory / GIB:.1f} GiB of memory are available, {wanted / GIB:.0f} are needed (nodes={instance.nodes})",
            "stop something, or `cluster down` another instance",
        )
    disk(instance.dir, (5 if instance.nodes else 1) * GIB)


def disk(folder: Path, wanted: int) -> None:
    """Free space where the state lies."""
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < wanted:
        raise ClusterError(
            f"{free / GIB:.1f} GiB are free at {there}; the cluster's state needs {wanted / GIB:.0f}",
            "free some space, or set SPEECHLESS_CLUSTER_STATE to a folder on another disk",
        )


def ports(instance: Instance, components: list[Component]) -> None:
    """No stranger may listen in the instance's network namespace on a port that one of its components needs."""
    if not (NETNS / instance.netns).exists():
        return
    listening = set()
    for line in run([*enter_network(instance), "cat", "/proc/net/tcp", "/proc/net/tcp6"]).splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[3] == "0A":  # TCP_LISTEN
            listening.add(int(fields[1].rpartition(":")[2], 16))
    for component in components:
        taken = sorted(listening.intersection(component.ports))
        if taken and process.pid(instance, component.name) is None:
            raise ClusterError(
                f"port {taken[0]}, which {component.name} needs, is in use in the network namespace {instance.netns}",
                f"`cluster down {instance.name}` ends everything in it",
            )
