"""The mount and network namespaces an instance lives in.

Everything a component mounts or writes under /run and /var stays in a mount namespace of the instance's own, and is
gone with it; every bridge, rule, port and route but the one link to the host stays in its network namespace.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from pathlib import Path

from . import paths
from .errors import ClusterError
from .instance import PODS, Instance
from .run import run, succeeds

NETNS = Path("/run/netns")
CLONE_NEWNET = 0x40000000  # sched.h
_LIBC = ctypes.CDLL(None, use_errno=True)  # os.setns comes with Python 3.12


def _mount_file(instance: Instance) -> Path:
    return instance.run_dir / "ns" / "mnt"


def mounted(path: Path) -> bool:
    """Whether something is mounted exactly there."""
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def enter(instance: Instance) -> list[str]:
    """The argv prefix that runs a command inside.

    nsenter, not `ip netns exec`: the latter remounts /sys, which hides the control groups.
    """
    return ["nsenter", f"--net={NETNS / instance.netns}", f"--mount={_mount_file(instance)}", "--"]


def ensure_mounts(instance: Instance) -> None:
    """Make the mount namespace, or find it again. Its /run and /var are tmpfs: nothing of the host's is written."""
    for kept in (paths.state(), paths.cache()):
        if kept.resolve().is_relative_to("/run") or kept.resolve().is_relative_to("/var"):
            raise ClusterError(
                f"{kept} lies under /run or /var, which the cluster covers with its own",
                "set SPEECHLESS_CLUSTER_STATE and SPEECHLESS_CACHE to folders elsewhere",
            )
    file, folder = _mount_file(instance), _mount_file(instance).parent
    if mounted(file):
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not mounted(folder):  # a namespace can't be pinned inside a shared mount: give it one of its own
        run(["mount", "--bind", folder, folder])
    run(["mount", "--make-private", folder])
    file.touch()
    run(["unshare", f"--mount={file}", "--propagation", "private", "true"])
    script = """set -eu
    run_dir=$1 hold=$2
    mkdir -p "$hold"; mount --bind "$run_dir" "$hold"
    mount -t tmpfs -o mode=755 tmpfs /run
    mount -t tmpfs -o mode=755 tmpfs /var
    mkdir -p "$run_dir" /run/lock /run/netns /var/lib/cni /var/lib/kubelet /var/log /var/tmp
    chmod 1777 /var/tmp; ln -s /run /var/run; ln -s /run/lock /var/lock
    mount --move "$hold" "$run_dir"; rmdir "$hold" """
    inside = ["nsenter", f"--mount={file}", "--", "sh", "-c", script, "sh"]
    # --make-rshared: the kubelet's volume mounts must reach the containers that containerd starts
    run([*inside, instance.run_dir, instance.dir / ".hold"])
    run(["nsenter", f"--mount={file}", "--", "mount", "--make-rshared", "/"])


def remove_mounts(instance: Instance) -> None:
    """Let the namespace go: with its last process gone, every mount in it goes too."""
    for path in (_mount_file(instance), _mount_file(instance).parent):
        while mounted(path):
            run(["umount", path])


def ensure_network(instance: Instance) -> None:
    """Make the network namespace and its one link to the host, or complete what an interrupted `up` left."""
    name, (host, inner) = instance.netns, instance.veth
    if not (NETNS / name).exists():
        run(["ip", "netns", "add", name])
    if not succeeds(["ip", "link", "show", host]):
        run(["ip", "link", "add", host, "type", "veth", "peer", "name", inner, "netns", name])
    run(["ip", "address", "replace", f"{instance.host_address}/30", "dev", host])
    run(["ip", "link", "set", host, "up"])
    run(["ip", "-n", name, "address", "replace", f"{instance.address}/30", "dev", inner])
    run(["ip", "-n", name, "link", "set", inner, "up"])
    run(["ip", "-n", name, "link", "set", "lo", "up"])
    run(["ip", "-n", name, "route", "replace", "default", "via", instance.host_address])
    _egress(instance)
    settings = ["net.ipv4.ip_forward=1", "net.ipv4.conf.all.route_localnet=1"]
    # Two pods on one bridge that talk through a Service need the answer to pass the NAT, too (br_netfilter).
    if not Path("/proc/sys/net/bridge").exists():
        succeeds(["modprobe", "br_netfilter"])
    if Path("/proc/sys/net/bridge").exists():
        settings.append("net.bridge.bridge-nf-call-iptables=1")
    run([*enter_network(instance), "sysctl", "-qw", *settings])


def enter_network(instance: Instance) -> list[str]:
    """The argv prefix for the network namespace alone."""
    return ["nsenter", f"--net={NETNS / instance.netns}", "--"]


def connect(instance: Instance, host: str, port: int, seconds: float) -> socket.socket:
    """A TCP connection made inside the network namespace; OSError if there is none.

    setns(2) moves the calling thread alone: one of its own goes in, and a socket stays where it was made.
    """
    made: list[socket.socket | OSError] = []

    def inside() -> None:
        try:
            with open(NETNS / instance.netns, "rb") as namespace:
                if _LIBC.setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")
            made.append(socket.create_connection((host, port), timeout=seconds))
        except OSError as problem:
            made.append(problem)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def _table(instance: Instance) -> str:
    return f"speechless_{instance.index}"


def _egress(instance: Instance) -> None:
    """Pods reach out through the host: a masquerade rule on each side, and forwarding (noted where it was off)."""
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    note = paths.runtime().with_suffix(".ip_forward")
    if forward.read_text().strip() != "1":
        note.write_text("0")
        forward.write_text("1")
    host, inner = instance.veth
    table = _table(instance)
    nft(f"""table ip {table}
delete table ip {table}
table ip {table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr {instance.address} oifname != "{host}" masquerade;
  }}
}}""")
    nft(
        f"""table ip speechless
delete table ip speechless
table ip speechless {{
  chain postrouting {{ type nat hook postrouting priority srcnat; ip saddr {PODS} oifname "{inner}" masquerade; }}
}}""",
        enter_network(instance),
    )


def nft(rules: str, inside: list[str] | None = None) -> None:
    """Load rules; the table is replaced as a whole, so doing it twice changes nothing."""
    run([*(inside or []), "nft", "-f", "-"], stdin=rules)


def remove_network(instance: Instance, last: bool) -> None:
    """Take away namespace, link and rule; the last instance puts forwarding back as it was."""
    if succeeds(["nft", "list", "table", "ip", _table(instance)]):
        run(["nft", "delete", "table", "ip", _table(instance)])
    if succeeds(["ip", "link", "show", instance.veth[0]]):
        run(["ip", "link", "delete", instance.veth[0]])
    if (NETNS / instance.netns).exists():
        run(["ip", "netns", "delete", instance.netns])
    note = paths.runtime().with_suffix(".ip_forward")
    if last and note.exists():
        Path("/proc/sys/net/ipv4/ip_forward").write_text(note.read_text())
        note.unlink()


def leftovers(instance: Instance) -> list[str]:
    """What of this instance the host still has: for `down` to prove that it left nothing."""
    left = [str(p) for p in (NETNS / instance.netns, instance.run_dir) if p.exists()]
    if succeeds(["ip", "link", "show", instance.veth[0]]):
        left.append(f"link {instance.veth[0]}")
    if succeeds(["nft", "list", "table", "ip", _table(instance)]):
        left.append(f"nft table {_table(instance)}")
    prefix = (str(instance.run_dir), str(instance.dir))
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split()[4].startswith(prefix):
            left.append(f"mount {line.split()[4]}")
    return left
