"""One file a component: its command line, its configuration, how to see that it is ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..binaries import Binaries
from ..instance import Instance


@dataclass(frozen=True)
class Component:
    """What `up` needs to start one process and to wait for it."""

    name: str
    argv: list[str]
    ready: Callable[[], bool]
    """Asked every 50 ms until true."""
    files: dict[Path, str] = field(default_factory=dict)
    """Configuration: written before the start; a change restarts the component."""
    env: dict[str, str] = field(default_factory=dict)
    seconds: float = 300
    """How long it may take to be ready."""
    ports: tuple[int, ...] = ()
    """TCP ports that it listens on in the instance's network namespace."""
    node: bool = False
    """Whether it belongs to the node rather than to the control plane."""


Factory = Callable[[Instance, Binaries], Component]


def all_components() -> list[Factory]:
    """In the order of their start; `down` goes backwards."""
    from . import (  # they import Component from here
        apiserver,
        buildkit,
        containerd,
        controller_manager,
        coredns,
        etcd,
        kube_proxy,
        kubelet,
        provisioner,
        scheduler,
    )

    return [
        etcd.component,
        apiserver.component,
        controller_manager.component,
        scheduler.component,
        containerd.component,
        buildkit.component,
        kubelet.component,
        kube_proxy.component,
        coredns.component,
        provisioner.component,
    ]
