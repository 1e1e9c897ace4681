"""up, down, reset, status: the instance as a whole."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from . import binaries, cgroup, images, manifests, namespaces, paths, pki, preflight, process
from .components import Component, all_components, apiserver
from .errors import ClusterError
from .instance import Instance, all_names, load, owned, place, placed, placing

Say = Callable[[str], None]


def prepare(say: Say, extras: Sequence[binaries.Program] = ()) -> binaries.Binaries:
    """Tools and binaries: everything slow that an `up` needs, and that is kept between runs."""
    preflight.root()
    preflight.tools(say)
    return binaries.ensure(say, extras)


def up(name: str, nodes: int | None, say: Say, controller_qps: int | None = None) -> Instance:
    """Start what does not run, repair what is broken; the same again is quick and changes nothing."""
    preflight.root()
    preflight.tools(say)
    instance = load(name)
    if instance and nodes is not None and instance.nodes != nodes:
        raise ClusterError(
            f"{name!r} was made with nodes={instance.nodes}",
            f"`cluster reset {name}` first, or choose another name",
        )
    wanted = instance or Instance(name, 0, 1 if nodes is None else nodes)
    if controller_qps is not None:
        wanted = replace(wanted, controller_qps=controller_qps)
    preflight.room(wanted)
    programs = binaries.ensure(say)
    began = time.monotonic()
    with placing():
        instance = place(wanted)
        namespaces.ensure_network(instance)
    pki.ensure(instance)
    components = _components(instance, programs)
    preflight.ports(instance, components)
    namespaces.ensure_mounts(instance)
    cgroup.ensure(instance)
    _user_tools(instance, programs)
    for component in components:
        _start(instance, component)
        if component.name == "kube-apiserver":
            say(f"API server ready after {time.monotonic() - began:.1f} s: {instance.server}")
            manifests.apply(instance)  # the rights that the components after it need
        if component.name == "buildkitd":
            images.ensure_pause(instance, programs)
    if instance.nodes:
        process.wait(instance, "kubelet", lambda: manifests.node_ready(instance), 300, "the node")
        say(f"node ready after {time.monotonic() - began:.1f} s")
    return instance


def _components(instance: Instance, programs: binaries.Binaries) -> list[Component]:
    made = [factory(instance, programs) for factory in all_components()]
    return [c for c in made if instance.nodes or not c.node]


def _start(instance: Instance, component: Component) -> None:
    for path, content in component.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != content:
            path.write_text(content)
    config = json.dumps({str(p): c for p, c in component.files.items()})
    process.start(instance, component.name, component.argv, component.env, config)
    process.wait(instance, component.name, component.ready, component.seconds, component.name)


def _user_tools(instance: Instance, programs: binaries.Binaries) -> None:
    """kubectl and friends in one folder, so that PATH needs one entry."""
    instance.bin.mkdir(parents=True, exist_ok=True)
    tools = {"kubectl": programs.kubernetes, "helm": programs.helm, "buildctl": programs.buildctl}
    if instance.nodes:
        tools["ctr"] = programs.containerd / "ctr"
    for name, target in tools.items():
        link = instance.bin / name
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)


def environment(instance: Instance) -> dict[str, str]:
    """What a user's shell needs to work with it."""
    return {
        "KUBECONFIG": str(instance.kubeconfig),
        # kubectl remembers what an address serves; another instance may have had this address before
        "KUBECACHEDIR": str(instance.dir / "kubectl-cache"),
        "SPEECHLESS_CLUSTER": instance.name,
        "BUILDKIT_HOST": f"unix://{instance.buildkit_socket}",
        "CONTAINERD_ADDRESS": str(instance.containerd_socket),
        "CONTAINERD_NAMESPACE": "k8s.io",
    }


def down(instance: Instance, say: Say) -> None:
    """Stop everything, keep the state, leave nothing behind.

    Pods get SIGTERM and five seconds; then the components, backwards; then whatever is left in the control group.
    """
    if not owned(instance):  # nothing of it is up: what carries its name or number is somebody else's
        say(f"{instance.name!r} is not up; its state is in {instance.dir}")
        return
    for name in ("provisioner", "kubelet"):  # first those that would start things again
        process.stop(instance, name)
    cgroup.kill(instance, "kubepods", grace=5)
    cgroup.kill(instance, "buildkit")
    for name in ("coredns", "kube-proxy", "buildkitd", "containerd"):
        process.stop(instance, name)
    for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
        process.stop(instance, name)
    cgroup.kill(instance)
    cgroup.remove(instance)
    namespaces.remove_mounts(instance)
    with placing():
        others = [f for f in paths.runtime().iterdir() if f.is_dir() and f != instance.run_dir]
        namespaces.remove_network(instance, last=not others)
        shutil.rmtree(instance.run_dir)
        if not others:
            paths.runtime().rmdir()
        left = namespaces.leftovers(instance)
    if cgroup.present(instance):
        left.append(f"control group {instance.cgroup}")
    if left:
        raise ClusterError(f"`down` left something behind: {', '.join(left)}", "please report this")
    say(f"{instance.name!r} is down; its state is kept in {instance.dir}")


def reset(name: str, say: Say) -> None:
    """Down, and the state deleted; works also when the state is damaged."""
    folder = paths.state() / name
    try:
        instance = load(name)
    except ClusterError:
        instance = placed(name)  # what is up knows itself, whatever became of the state folder
    if instance:
        down(instance, say)
    if not folder.exists():
        raise ClusterError(f"there is no instance {name!r}", f"there are: {', '.join(all_names()) or 'none'}")
    shutil.rmtree(folder)
    say(f"{name!r} is gone")


def status(instance: Instance) -> dict[str, object]:
    """What runs, as plain data: `cluster status --json` prints it."""
    parts: list[dict[str, object]] = []
    for component in _components(instance, binaries.located()):
        number = process.pid(instance, component.name)
        age = round(process.age(number)) if number else None
        parts.append({"name": component.name, "pid": number, "running": number is not None, "seconds": age})
    running = sum(bool(p["running"]) for p in parts)
    state = "running" if running == len(parts) else "partial" if running else "stopped"
    return {
        "name": instance.name,
        "nodes": instance.nodes,
        "state": state,
        "server": instance.server,
        "kubeconfig": str(instance.kubeconfig),
        "address": instance.address,
        "bin": str(instance.bin),
        "audit": str(apiserver.audit_log(instance)),
        "logs": str(instance.log_dir),
        "folder": str(instance.dir),
        "components": parts,
    }


def disk_used(folder: Path) -> int:
    """Bytes of files below a folder. It may be in use: what vanishes while we look is not counted."""
    used = 0
    for parent, _, files in os.walk(folder):  # which passes over a folder that is gone
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                found = os.lstat(os.path.join(parent, file))
                used += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return used
