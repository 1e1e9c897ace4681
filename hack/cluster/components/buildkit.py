"""BuildKit with containerd as its worker: what it builds is in the node's image store at once, without push or pull."""

from __future__ import annotations

from ..binaries import Binaries
from ..instance import Instance
from ..run import succeeds
from . import Component


def component(instance: Instance, binaries: Binaries) -> Component:
    """RUN steps use the instance's network namespace; the cache is pruned above 20 GB."""
    config = instance.dir / "buildkitd.toml"
    toml = f"""root = "{instance.dir}/buildkit"
[grpc]
  address = ["unix://{instance.buildkit_socket}"]
[worker.oci]
  enabled = false
[worker.containerd]
  enabled = true
  address = "{instance.containerd_socket}"
  namespace = "k8s.io"
  snapshotter = "overlayfs"
  networkMode = "host"
  defaultCgroupParent = "/{instance.cgroup}/buildkit"
  gc = true
  maxUsedSpace = "20GB"
"""
    return Component(
        name="buildkitd",
        argv=[str(binaries.buildkitd), "--config", str(config)],
        env={"PATH": f"{binaries.runtime}/usr/bin:{binaries.runtime}/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin"},
        files={config: toml},
        ready=lambda: succeeds([*buildctl(instance, binaries), "debug", "workers"]),
        node=True,
    )


def buildctl(instance: Instance, binaries: Binaries) -> list[str]:
    """The argv prefix of BuildKit's client."""
    return [str(binaries.buildctl), "--addr", f"unix://{instance.buildkit_socket}"]
