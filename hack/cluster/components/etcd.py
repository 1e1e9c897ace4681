"""etcd: where the API server keeps everything."""

from __future__ import annotations

from ..binaries import Binaries
from ..client import healthy
from ..instance import Instance
from . import Component


def component(instance: Instance, binaries: Binaries) -> Component:
    """One member, on the loopback of the instance's own network namespace.

    It does not wait for the disk (`--unsafe-no-fsync`): a killed process loses nothing, a power cut may.
    """
    client = "http://127.0.0.1:2379"
    return Component(
        name="etcd",
        argv=[
            str(binaries.kubernetes), "etcd",
            "--data-dir", str(instance.dir / "etcd"),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", "http://127.0.0.1:2380",
            "--unsafe-no-fsync", "--log-level", "warn",
            "--auto-compaction-retention", "10m", "--quota-backend-bytes", str(4 << 30),
        ],
        ready=lambda: healthy(instance, f"{client}/health"),
        ports=(2379, 2380),
    )  # fmt: skip
