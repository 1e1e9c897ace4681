"""containerd, with Debian's runc and CNI bridge plugin."""

from __future__ import annotations

import json

from ..binaries import Binaries
from ..instance import NODE_PODS, Instance
from ..run import succeeds
from . import Component

UNUSED = [
    *(f"io.containerd.snapshotter.v1.{name}" for name in ("blockfile", "btrfs", "devmapper", "erofs", "zfs")),
    "io.containerd.nri.v1.nri",  # plug-ins that watch containers: there are none
    "io.containerd.internal.v1.opt",  # would write under /opt
    "io.containerd.tracing.processor.v1.otlp",
]
PAUSE_IMAGE = "localhost/speechless/pause:1"


def component(instance: Instance, binaries: Binaries) -> Component:
    """Its root is the instance's; its state is in the instance's own /run."""
    root, config, cni = binaries.runtime, instance.dir / "containerd.toml", instance.dir / "cni"
    images, runtime = 'plugins."io.containerd.cri.v1.images"', 'plugins."io.containerd.cri.v1.runtime"'
    toml = f"""version = 3
root = "{instance.dir}/containerd"
state = "/run/containerd"
disabled_plugins = {json.dumps(UNUSED)}
[grpc]
  address = "{instance.containerd_socket}"
[{images}.pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[{runtime}]
  restrict_oom_score_adj = true  # without CAP_SYS_RESOURCE runc fails with "can't get final child's PID from pipe: EOF"
  [{runtime}.cni]
    bin_dirs = ["{root}/usr/lib/cni"]
    conf_dir = "{cni}"
  [{runtime}.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [{runtime}.containerd.runtimes.runc.options]
      SystemdCgroup = false
      BinaryName = "{root}/usr/sbin/runc"
"""
    network = {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods0",
                "isGateway": True,
                "hairpinMode": True,  # a pod may reach itself through its Service
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": NODE_PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }
    return Component(
        name="containerd",
        argv=[f"{binaries.containerd}/containerd", "--config", str(config)],
        env={"PATH": f"{binaries.containerd}:{root}/usr/bin:{root}/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin"},
        files={config: toml, cni / "10-pods.conflist": json.dumps(network, indent=1)},
        ready=lambda: succeeds([*ctr(instance, binaries), "version"]),
        node=True,
    )


def ctr(instance: Instance, binaries: Binaries) -> list[str]:
    """The argv prefix of containerd's client, in the namespace that the kubelet's images are in."""
    return [
        f"{binaries.containerd}/ctr",
        "--address",
        str(instance.containerd_socket),
        "--namespace",
        "k8s.io",
    ]
