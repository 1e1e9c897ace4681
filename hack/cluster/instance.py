"""One cluster: its name, its addresses and its folders. Several live side by side."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from . import paths
from .errors import ClusterError
from .run import run, succeeds

NAME = re.compile(r"[a-z]([-a-z0-9]{0,18}[a-z0-9])?")
POOL = ipaddress.IPv4Network("10.213.0.0/22")
"""Each instance gets a /30 of this: one address on the host, one in the instance's network namespace."""

SERVICES = "10.96.0.0/16"
DNS_SERVICE = "10.96.0.10"
PODS = "10.244.0.0/16"
NODE_PODS = "10.244.0.0/24"
CONTROLLER_QPS = 20
"""The controller manager's own default: a Job's controller then makes twenty pods a second at most."""
NODE = "node1"
DOMAIN = "cluster.local"


@dataclass(frozen=True)
class Instance:
    """A cluster's identity. Service and pod addresses are the same in all: they exist in its own namespace only."""

    name: str
    index: int
    nodes: int
    controller_qps: int = CONTROLLER_QPS
    """Requests a second that each controller of the controller manager may send."""

    @property
    def _subnet(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network((int(POOL.network_address) + 4 * self.index, 30))

    @property
    def host_address(self) -> str:
        """The host's end of the link."""
        return str(self._subnet[1])

    @property
    def address(self) -> str:
        """Where the API server listens, reachable from the host."""
        return str(self._subnet[2])

    @property
    def link(self) -> str:
        """The subnet of the link with its prefix, for the routing check."""
        return str(self._subnet)

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.address}:6443"

    @property
    def dir(self) -> Path:
        """Everything that outlives `down`."""
        return paths.state() / self.name

    @property
    def run_dir(self) -> Path:
        """Sockets, pid files and namespace files."""
        return paths.runtime() / self.name

    @property
    def log_dir(self) -> Path:
        """One log a component, and the API server's audit log."""
        return self.dir / "log"

    @property
    def pki(self) -> Path:
        """Keys, certificates and kubeconfigs."""
        return self.dir / "pki"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.pki / "admin.kubeconfig"

    @property
    def bin(self) -> Path:
        """kubectl, helm, buildctl and ctr for a user's PATH."""
        return self.dir / "bin"

    @property
    def netns(self) -> str:
        """The network namespace's name, as `ip netns` shows it."""
        return f"speechless-{self.name}"

    @property
    def veth(self) -> tuple[str, str]:
        """The link's two ends: on the host, in the namespace (15 characters at most)."""
        return f"slc{self.index}h", f"slc{self.index}n"

    @property
    def cgroup(self) -> str:
        """The control group under which everything of this instance runs."""
        return f"speechless-{self.name}"

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens."""
        return self.run_dir / "containerd.sock"

    @property
    def buildkit_socket(self) -> Path:
        """Where BuildKit listens."""
        return self.run_dir / "buildkitd.sock"

    def save(self) -> None:
        """Make it known: from now on there is an instance of that name."""
        _write(self.dir / "instance.json", self.as_json())

    def as_json(self) -> dict[str, int]:
        """What `load` needs beside the name."""
        return {"index": self.index, "nodes": self.nodes, "controllerQps": self.controller_qps}


def _from_json(name: str, data: Mapping[str, str | int]) -> Instance:
    return Instance(
        name, int(data["index"]), int(data["nodes"]), int(data.get("controllerQps", CONTROLLER_QPS))
    )


def _write(file: Path, content: Mapping[str, object]) -> None:
    """Whole or not at all: a reader never sees half a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(file.name + ".new")
    draft.write_text(json.dumps(content))
    draft.replace(file)


def check_name(name: str) -> str:
    """The name itself, or ClusterError: it becomes part of interface, namespace and folder names."""
    if not NAME.fullmatch(name):
        raise ClusterError(
            f"{name!r} can't name an instance",
            "use up to 20 lower-case letters, digits and inner dashes, a letter first: for example `test-api`",
        )
    return name


def load(name: str) -> Instance | None:
    """The instance of that name, or None where there is none."""
    file = paths.state() / check_name(name) / "instance.json"
    try:
        return _from_json(name, json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as problem:
        raise ClusterError(
            f"{file} can't be read: {problem}", f"`cluster reset {name}` starts it anew"
        ) from None


def existing(name: str) -> Instance:
    """The instance of that name; ClusterError with the names that exist where there is none.

    One that is up and whose state folder was deleted is there, too: somebody has to be able to stop it.
    """
    found = load(name) or placed(name)
    if found is None:
        names = ", ".join(all_names()) or "none yet"
        raise ClusterError(
            f"there is no instance {name!r} (there are: {names})", f"`cluster up {name}` makes it"
        )
    return found


def all_names() -> list[str]:
    """Every instance with a state folder."""
    return sorted(p.parent.name for p in paths.state().glob("*/instance.json"))


def _placed(name: str) -> tuple[Instance, str] | None:
    """The instance that is up on this machine under a name, and its state folder."""
    try:
        data = json.loads((paths.runtime() / name / "instance.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return _from_json(name, data), str(data["state"])


def placed(name: str) -> Instance | None:
    """The instance that is up under a name, if its state lies where ours do, or nowhere any more."""
    found = _placed(name)
    return found[0] if found and (found[1] == str(found[0].dir) or not Path(found[1]).exists()) else None


def owned(instance: Instance) -> bool:
    """Whether what is up on this machine under its name is this instance, and not one whose state lies elsewhere."""
    return placed(instance.name) is not None


def place(instance: Instance) -> Instance:
    """The instance with addresses that are its own: those it has, or the first pair that nobody else uses.

    Its addresses may be taken while it is down, by a cluster whose state lies elsewhere or by a route of the machine.
    It then gets others, and certificates for them.

    Raises:
        ClusterError: The name is in use by a cluster with another state folder, or no pair is free.
    """
    found = _placed(instance.name)
    if found and found[1] != str(instance.dir):
        if not Path(found[1]).exists():
            raise ClusterError(
                f"{instance.name!r} is up already, and its state in {found[1]} is gone",
                f"`cluster down {instance.name}` stops it",
            )
        raise ClusterError(
            f"{instance.name!r} is up already, with its state in {found[1]}",
            "choose another name, or set SPEECHLESS_CLUSTER_STATE to that folder's parent",
        )
    others = {other.index for other in map(load, all_names()) if other and other.name != instance.name}
    routes = _routes()
    for index in [instance.index, *range(2 ** (30 - POOL.prefixlen))]:
        candidate = replace(instance, index=index)
        link = ipaddress.IPv4Network(candidate.link)
        if index in others or any(
            link.overlaps(route) for route, device in routes if not _own(candidate, device)
        ):
            continue
        if candidate != load(instance.name):
            candidate.save()
        _write(candidate.run_dir / "instance.json", {**candidate.as_json(), "state": str(candidate.dir)})
        return candidate
    raise ClusterError(
        f"no pair of addresses in {POOL} is free: {len(others)} other instances, or routes that cover it"
    )


def _own(instance: Instance, device: str) -> bool:
    """Whether that link is this instance's: its name has the right number, and its other end is in the namespace."""
    return device == instance.veth[0] and succeeds(
        ["ip", "-n", instance.netns, "link", "show", instance.veth[1]]
    )


def _routes() -> list[tuple[ipaddress.IPv4Network, str]]:
    known = []
    for route in json.loads(run(["ip", "-j", "-4", "route", "show", "table", "all"]) or "[]"):
        destination = route.get("dst", "default")
        if destination != "default":
            known.append((ipaddress.IPv4Network(destination, strict=False), str(route.get("dev", ""))))
    return known


@contextlib.contextmanager
def placing() -> Iterator[None]:
    """Held while addresses are chosen and the link is made: two `up` at once must not choose the same."""
    paths.runtime().mkdir(parents=True, exist_ok=True)
    with open(paths.runtime().with_suffix(".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def locked(name: str, what: str, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """One `up`, `down`, `reset` or build at a time; a second one is told who is at it.

    `waiting`: it waits then, and this is called with a line that says so.
    """
    paths.state().mkdir(parents=True, exist_ok=True)
    with open(paths.state() / f".{name}.lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            if waiting is None:
                raise ClusterError(
                    f"{name!r} is busy: {holder}", "wait for it to end, then run again"
                ) from None
            waiting(f"waiting for {holder}")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"`{what} {name}` (pid {os.getpid()})")
        file.flush()
        yield
        file.truncate(0)
