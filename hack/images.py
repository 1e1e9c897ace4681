"""Build the images of images/ into a cluster of hack/cluster, in the order in which they stand on one another.

    python3 hack/images.py                        into the cluster `speechless` of hack/cluster
    python3 hack/images.py --instance other --up  into another, started if it is not
    python3 hack/images.py train eval             only these, and what they stand on

The engine's cache decides what is built anew; the first build takes long (llama.cpp is compiled, torch downloaded).
`hack/push.py` builds the same with Docker, podman or buildah, and pushes them to a registry.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PREFIX = "localhost/speechless"
BASE_IMAGE = f"{PREFIX}/base:bookworm"

# Image: the images whose names it gets as build arguments. Those come before it.
IMAGES: dict[str, tuple[str, ...]] = {
    "tools": (),
    "operator": ("tools",),
    "llamacpp": (),
    "serve-llamacpp": ("tools", "llamacpp"),
    "torch": ("tools",),
    "train": ("tools", "torch"),
    "eval": ("tools", "llamacpp", "torch"),
    "quantize": ("tools", "llamacpp", "torch"),
}
KEPT = ("llamacpp",)
"""Kept as archives in the cache folder, too: every other cluster on this machine is spared the quarter of an hour."""
SHIPPED = ("operator", "serve-llamacpp", "train", "eval", "quantize")
"""The others are only built from."""


def tag(name: str, version: str) -> str:
    """An image's full name on the machine that builds. What is only built from has no version: nobody sees it."""
    return f"{PREFIX}/{name}:{version if name in SHIPPED else 'dev'}"


def with_needs(names: list[str]) -> list[str]:
    """The images named and those they stand on, in the order of `IMAGES`."""
    wanted, new = set[str](), set(names or IMAGES)
    while new:
        wanted |= new
        new = {need for name in new for need in IMAGES[name]} - wanted
    return [name for name in IMAGES if name in wanted]


def build_args(name: str, base: str, called: Callable[[str], str]) -> dict[str, str]:
    """The build arguments of an image's Containerfile; `called`: what an image that it stands on is called there."""
    args = {f"{need.replace('-', '').upper()}_IMAGE": called(need) for need in IMAGES[name]}
    return args if "torch" in IMAGES[name] else {"BASE_IMAGE": base, **args}


def version() -> str:
    """The project's: the chart's default tag."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def revision() -> str:
    """The commit that is built, with `-dirty` when the tree has changes; `unknown` outside a checkout."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or "unknown"


def command(instance: str, name: str, args: dict[str, str], version: str) -> list[str]:
    """The argv that builds one image."""
    pairs = [part for key, value in args.items() for part in ("--build-arg", f"{key}={value}")]
    options = ["--tag", tag(name, version), "--file", str(ROOT / f"images/{name}/Containerfile"), *pairs]
    return [sys.executable, "-m", "cluster", "image", "build", instance, *options, str(ROOT)]


def main() -> int:
    """Build; the first that fails ends it with its status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="IMAGE", help=f"of {', '.join(IMAGES)} (default: all)")
    parser.add_argument(
        "--instance", default="speechless", help="the cluster to build into (default: speechless)"
    )
    parser.add_argument("--up", action="store_true", help="start that cluster first if it is not up")
    parser.add_argument(
        "--down", action="store_true", help="with --up: stop it afterwards if it was not up before"
    )
    parser.add_argument(
        "--version", default="dev", help="the tag, and the version in the label (default: dev)"
    )
    parser.add_argument(
        "--base-image", help="Debian 12 with Python 3.11 and venv (default: the cluster's own)"
    )
    parser.add_argument(
        "--log", type=Path, default=ROOT / "build" / "images", help="the folder of the build logs"
    )
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in IMAGES]:
        parser.error(f"no image {unknown[0]!r}: there are {', '.join(IMAGES)}")
    base = args.base_image or BASE_IMAGE
    labels = {"VERSION": args.version, "REVISION": revision()}
    if args.down and not args.up:
        parser.error("--down goes with --up")
    stop = args.down and state(args.instance) != "running"
    if args.up and (status := cluster_program("up", args.instance, "--nodes", "1").returncode):
        return status
    try:
        return build_all(args, base, labels)
    finally:
        if stop:
            cluster_program("down", args.instance)


def state(instance: str) -> str:
    """What the cluster program says of an instance: running, partial, stopped or absent."""
    return str(json.loads(cluster_program("status", instance, "--json").stdout)["state"])


def cluster_program(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run the cluster program; its progress and errors go to standard error."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "hack")}
    command_line = [sys.executable, "-m", "cluster", *argv]
    return subprocess.run(command_line, check=False, env=env, stdout=subprocess.PIPE, text=True)


def build_all(args: argparse.Namespace, base: str, labels: dict[str, str]) -> int:
    """Build the images asked for; 1 after the first that fails."""
    for name in with_needs(args.names):
        given = build_args(name, base, lambda need: tag(need, args.version)) | (
            labels if name in SHIPPED else {}
        )
        if not make(args.instance, name, given, args.version, args.log):
            return 1
    return 0


def make(instance: str, name: str, given: dict[str, str], version: str, logs: Path) -> bool:
    """Build an image, or take it from the cache of archives; False after a failure that has been told."""
    kept = archive(name, given.get("BASE_IMAGE", ""))
    cluster = [sys.executable, "-m", "cluster", "image"]
    if (load := loading(instance, name, given.get("BASE_IMAGE", ""))) is not None:
        return build(load, name, logs)
    if not build(command(instance, name, given, version), name, logs):
        return False
    if name not in KEPT:
        return True
    return build([*cluster, "save", instance, tag(name, version), str(kept)], f"{name}-archive", logs)


def loading(instance: str, name: str, base: str) -> list[str] | None:
    """The argv that takes an image from the cache of archives; None if it is not there."""
    kept = archive(name, base)
    if name not in KEPT or not kept.exists():
        return None
    return [sys.executable, "-m", "cluster", "image", "load", instance, str(kept)]


def archive(name: str, base: str) -> Path:
    """The archive of an image, named by what it is made from."""
    digest = hashlib.sha256(base.encode())
    for file in sorted((ROOT / "images" / name).iterdir()):
        digest.update(f"{file.name}\0".encode() + file.read_bytes())
    folder = Path(os.environ.get("SPEECHLESS_CACHE") or Path.home() / ".cache/speechless")
    return folder / "images" / f"{name}-{digest.hexdigest()[:16]}.tar"


def build(
    argv: Sequence[str], name: str, logs: Path, *, env: Mapping[str, str] | None = None, lines: int = 40
) -> bool:
    """Run one build with its output in a file, and a line a minute. On failure: the last lines of the file, if any."""
    logs.mkdir(parents=True, exist_ok=True)
    file, began = logs / f"{name}.log", time.monotonic()
    env = {**os.environ, "PYTHONPATH": str(ROOT / "hack"), **(env or {})}
    with (
        open(file, "w") as out,
        subprocess.Popen(argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out) as child,
    ):
        while True:
            try:
                status = child.wait(timeout=60)
                break
            except subprocess.TimeoutExpired:
                last = [line for line in file.read_text(errors="replace").splitlines() if line.strip()][-1:]
                print(
                    f"  {name}: {time.monotonic() - began:.0f} s, {''.join(last)[:90]}",
                    file=sys.stderr,
                    flush=True,
                )
    if status:
        if lines:
            print("\n".join(file.read_text(errors="replace").splitlines()[-lines:]), file=sys.stderr)
            print(f"images: {name} failed; all it printed is in {file}", file=sys.stderr)
        return False
    print(f"image {name:<15} {time.monotonic() - began:6.1f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
