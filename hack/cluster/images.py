"""Images for the node: the pause image, the Debian base image, and any Dockerfile."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import paths, versions
from .binaries import Binaries
from .components.buildkit import buildctl
from .components.containerd import PAUSE_IMAGE, ctr
from .errors import ClusterError
from .instance import Instance
from .namespaces import enter_network
from .run import run

BASE_IMAGE = f"localhost/speechless/base:{versions.DEBIAN}"
BASE_PACKAGES = "ca-certificates,python3,python3-venv"


def listed(instance: Instance, binaries: Binaries) -> list[str]:
    """The tags in the node's image store."""
    names = run([*ctr(instance, binaries), "images", "list", "--quiet"]).split()
    return sorted(n for n in names if not n.startswith("sha256:"))


def save(instance: Instance, binaries: Binaries, tag: str, file: Path) -> None:
    """Write an image to a file (an OCI archive), whole or not at all."""
    if tag not in listed(instance, binaries):
        raise ClusterError(
            f"{instance.name!r} has no image {tag}", f"`cluster image list {instance.name}` shows all"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{uuid.uuid4().hex[:8]}.tar")
    try:
        run([*ctr(instance, binaries), "images", "export", draft, tag], timeout=1800)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def load(instance: Instance, binaries: Binaries, file: Path) -> None:
    """Take the images of an OCI or Docker archive into the node's store."""
    if not file.is_file():
        raise ClusterError(f"there is no {file}", "`cluster image save` or `docker save` writes one")
    run([*ctr(instance, binaries), "images", "import", file], timeout=1800)


def push(instance: Instance, binaries: Binaries, tag: str, *, plain_http: bool) -> None:
    """Push an image to the registry in its name, from inside the node: what it reaches, it can pull from."""
    if tag not in listed(instance, binaries):
        raise ClusterError(
            f"{instance.name!r} has no image {tag}", f"`cluster image list {instance.name}` shows all"
        )
    plain = ["--plain-http"] if plain_http else []
    try:
        run([*enter_network(instance), *ctr(instance, binaries), "images", "push", *plain, tag], timeout=1800)
    except ClusterError as problem:
        raise ClusterError(str(problem).rpartition("ctr: ")[2]) from None


def build(
    instance: Instance,
    binaries: Binaries,
    *,
    tag: str,
    context: Path,
    file: Path,
    build_args: Mapping[str, str],
    secrets: Sequence[str] = (),
    target: str = "",
    quiet: bool = False,
) -> None:
    """Build a Dockerfile into the node's image store.

    The build gets two secrets beside the caller's, neither of which reaches a layer: `ca`, the machine's CA bundle,
    when it has one of its own; `pipconf`, the package index it uses, when it is not the public one. A Dockerfile mounts
    them with `required=false`.
    """
    if not file.is_file():
        raise ClusterError(f"there is no {file}", "give the Dockerfile's path with --file")
    with tempfile.TemporaryDirectory() as folder:
        machine = _machine_secrets(Path(folder))
        argv = [
            *buildctl(instance, binaries), "build", "--frontend", "dockerfile.v0", "--progress", "plain",
            "--local", f"context={context}", "--local", f"dockerfile={file.parent}", "--opt", f"filename={file.name}",
            "--output", f"type=image,name={tag},unpack=true,compression=uncompressed",
        ]  # fmt: skip
        argv += ["--opt", f"target={target}"] if target else []
        for key, value in build_args.items():
            argv += ["--opt", f"build-arg:{key}={value}"]
        for secret in [*machine, *secrets]:
            argv += ["--secret", secret]
        done = subprocess.run(argv, check=False, capture_output=quiet, text=True)
    if done.returncode:
        words = f":\n{(done.stderr or '')[-3000:]}" if quiet else ""
        raise ClusterError(f"building {tag} from {file} failed{words}", "the step that failed is named above")


def _machine_secrets(folder: Path) -> list[str]:
    secrets = []
    bundle = os.environ.get("SSL_CERT_FILE")
    if bundle and Path(bundle).is_file():
        secrets.append(f"id=ca,src={bundle}")
    if index := package_index():
        conf = folder / "pip.conf"
        conf.write_text("[global]\n" + "".join(f"{k} = {v}\n" for k, v in index.items()))
        secrets.append(f"id=pipconf,src={conf}")
    return secrets


def package_index() -> dict[str, str]:
    """pip's index settings of this machine, from its environment and configuration files; empty: the public index."""
    keys = ("index-url", "extra-index-url", "trusted-host")
    found: dict[str, str] = {}
    for file in (Path("/etc/pip.conf"), Path.home() / ".pip/pip.conf", Path.home() / ".config/pip/pip.conf"):
        parser = configparser.RawConfigParser()
        if file.is_file():
            parser.read(file)
            found |= {k: parser.get("global", k) for k in keys if parser.has_option("global", k)}
    for key in keys:
        if value := os.environ.get(f"PIP_{key.upper().replace('-', '_')}"):
            found[key] = value
    return found


def ensure_pause(instance: Instance, binaries: Binaries) -> None:
    """The image whose process holds a pod's namespaces; no pod starts without it."""
    if PAUSE_IMAGE in listed(instance, binaries):
        return
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        shutil.copy(binaries.pause, context / "pause")
        (context / "Dockerfile").write_text(
            'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n'
        )
        build(
            instance,
            binaries,
            tag=PAUSE_IMAGE,
            context=context,
            file=context / "Dockerfile",
            build_args={},
            quiet=True,
        )


def ensure_base(instance: Instance, binaries: Binaries, say: Callable[[str], None]) -> str:
    """Debian with Python and CA certificates, made by debootstrap from the machine's own package sources."""
    if BASE_IMAGE in listed(instance, binaries):
        return BASE_IMAGE
    rootfs = _rootfs(say)
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        os.link(
            rootfs, context / rootfs.name
        ) if rootfs.stat().st_dev == context.stat().st_dev else shutil.copy(rootfs, context / rootfs.name)
        (context / "Dockerfile").write_text(f'FROM scratch\nADD {rootfs.name} /\nCMD ["/bin/bash"]\n')
        say(f"making {BASE_IMAGE}")
        build(
            instance,
            binaries,
            tag=BASE_IMAGE,
            context=context,
            file=context / "Dockerfile",
            build_args={},
            quiet=True,
        )
    return BASE_IMAGE


def _rootfs(say: Callable[[str], None]) -> Path:
    """The base image's files as a tarball in the cache."""
    done = paths.cache() / "base" / f"{versions.DEBIAN}-{BASE_PACKAGES.replace(',', '-')}.tar"
    if done.exists():
        return done
    done.parent.mkdir(parents=True, exist_ok=True)
    mirror = _mirror()
    with tempfile.TemporaryDirectory(dir=done.parent) as folder:
        root = Path(folder) / "root"
        say(f"making the Debian {versions.DEBIAN} base image (debootstrap, about a minute)")
        run(
            ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", versions.DEBIAN, root, mirror],
            timeout=900,
        )
        for junk in (
            "var/cache/apt/archives",
            "var/lib/apt/lists",
            "usr/share/doc",
            "usr/share/man",
            "usr/share/locale",
        ):
            shutil.rmtree(root / junk, ignore_errors=True)
            (root / junk).mkdir(parents=True, exist_ok=True)
        draft = done.with_name(f".{uuid.uuid4().hex[:8]}.tar")
        try:
            run(["tar", "--numeric-owner", "--exclude=./dev/*", "-C", root, "-cf", draft, "."], timeout=300)
            draft.replace(done)
        finally:
            draft.unlink(missing_ok=True)
    return done


def _mirror() -> str:
    """The first package source of this machine that carries the release."""
    for line in run(
        ["apt-get", "indextargets", "--format", "$(CODENAME) $(SITE)", "Created-By: Packages"]
    ).splitlines():
        codename, _, site = line.partition(" ")
        if codename == versions.DEBIAN:
            # $(SITE) leaves out the path: ask for the whole URI of the repository
            return run(["apt-get", "indextargets", "--format", "$(REPO_URI)", f"Site: {site}"]).split()[0]
    raise ClusterError(
        f"this machine's package sources have no Debian {versions.DEBIAN}",
        "the base image is made from them: see apt sources",
    )
