"""The command: `PYTHONPATH=hack python3 -m cluster --help`, or `make cluster-up` and its siblings."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import time
from pathlib import Path

from . import images, lifecycle, paths
from .binaries import EXTRAS, Program
from .binaries import ensure as ensure_binaries
from .errors import ClusterError
from .instance import CONTROLLER_QPS, all_names, check_name, existing, load, locked

DEFAULT = "speechless"


def say(text: str) -> None:
    """Progress goes to stderr: stdout carries answers."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _up(args: argparse.Namespace) -> None:
    with locked(args.name, "cluster up"):
        instance = lifecycle.up(args.name, args.nodes, say, args.controller_qps)
    print(f"export KUBECONFIG={instance.kubeconfig}")


def _down(args: argparse.Namespace) -> None:
    for name in all_names() if args.all else [args.name]:
        with locked(name, "cluster down"):
            lifecycle.down(existing(name), say)


def _reset(args: argparse.Namespace) -> None:
    with locked(args.name, "cluster reset"):
        lifecycle.reset(args.name, say)


def _status(args: argparse.Namespace) -> None:
    if args.json:
        instance = load(args.name)
        print(
            json.dumps(
                lifecycle.status(instance) if instance else {"name": args.name, "state": "absent"}, indent=1
            )
        )
        return
    report = lifecycle.status(existing(args.name))
    print(f"{report['name']}: {report['state']}, nodes={report['nodes']}, {report['server']}")
    for part in report["components"]:  # type: ignore[attr-defined]
        what = f"pid {part['pid']:>7}  up {part['seconds']} s" if part["running"] else "not running"
        print(f"  {part['name']:<24} {what}")
    print(f"  kubeconfig  {report['kubeconfig']}\n  logs        {report['logs']}")
    if report["state"] == "partial":
        print(f"  `cluster up {args.name}` starts what is missing")


def _list(args: argparse.Namespace) -> None:
    for name in all_names():
        instance = load(name)
        if instance:
            used = lifecycle.disk_used(instance.dir) / (1 << 30)
            print(
                f"{name:<20} nodes={instance.nodes} {lifecycle.status(instance)['state']:<8} {used:6.1f} GiB"
            )


def _shell(args: argparse.Namespace) -> None:
    instance = existing(args.name)
    if lifecycle.status(instance)["state"] != "running":
        raise ClusterError(f"{args.name!r} is not running", f"`cluster up {args.name}` starts it")
    env = {**os.environ, **lifecycle.environment(instance)}
    env["PATH"] = f"{instance.bin}:{env.get('PATH', '')}"
    shell = env.get("SHELL", "/bin/bash")
    say(f"a shell with KUBECONFIG, kubectl and helm for {args.name!r}; `exit` leaves it")
    sys.stderr.flush()
    argv = args.command or [shell]
    os.execvpe(argv[0], argv, env)


def _prepare(args: argparse.Namespace) -> None:
    with locked(".prepare", "cluster prepare", say):
        lifecycle.prepare(say, args.extras)
    for module in args.extras:
        print(f"{module.name}={module.folder}")


def _image(args: argparse.Namespace) -> None:
    instance = existing(args.name)
    if not instance.nodes:
        raise ClusterError(f"{args.name!r} has no node, so no image store", "use an instance with nodes=1")
    programs = ensure_binaries(say)
    if args.image == "list":
        print("\n".join(images.listed(instance, programs)))
    elif args.image == "save":
        images.save(instance, programs, args.tag, args.file)
    elif args.image == "load":
        images.load(instance, programs, args.file)
    elif args.image == "push":
        images.push(instance, programs, args.tag, plain_http=args.plain_http)
    elif args.image == "base":
        print(images.ensure_base(instance, programs, say))
    else:
        given = {"BASE_IMAGE": images.BASE_IMAGE, **dict(a.split("=", 1) for a in args.build_arg)}
        if given["BASE_IMAGE"] == images.BASE_IMAGE:
            images.ensure_base(instance, programs, say)
        file = args.file or args.context / "Containerfile"
        images.build(
            instance,
            programs,
            tag=args.tag,
            context=args.context,
            file=file,
            build_args=given,
            secrets=args.secret,
            target=args.target,
        )
        print(args.tag)


def _pair(text: str) -> str:
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return text


def _extras(text: str) -> list[Program]:
    unknown = [name for name in text.split(",") if name not in EXTRAS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}; there are: {', '.join(EXTRAS)}")
    return [EXTRAS[name] for name in text.split(",")]


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="cluster",
        description="A real Kubernetes on this machine, without Docker. Needs Linux and root.",
        epilog=f"State: {paths.state()}. Caches: {paths.cache()}. hack/cluster/README.md tells how it works.",
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command_name", required=True, metavar="COMMAND")

    def command(name: str, function: object, text: str, named: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        made.set_defaults(function=function)
        if named:
            made.add_argument("name", nargs="?", default=DEFAULT, help=f"the instance (default: {DEFAULT})")
        return made

    up = command("up", _up, "start an instance, or complete and repair it")
    up.add_argument(
        "--nodes", type=int, choices=(0, 1), help="0: the control plane alone; 1 (default): with a node"
    )
    up.add_argument(
        "--controller-qps",
        type=int,
        metavar="N",
        help=f"requests a second of each of Kubernetes' controllers; kept (default: {CONTROLLER_QPS}, as upstream)",
    )
    down = command("down", _down, "stop an instance; its state is kept")
    down.add_argument("--all", action="store_true", help="every instance")
    command("reset", _reset, "stop an instance and delete its state")
    status = command("status", _status, "what runs")
    status.add_argument("--json", action="store_true", help="as JSON, for programs")
    command("list", _list, "every instance, with the disk it uses", named=False)
    shell = command("shell", _shell, "a shell with KUBECONFIG set and kubectl and helm on PATH")
    shell.add_argument("command", nargs=argparse.REMAINDER, help="a command to run there instead of a shell")
    prepare = command(
        "prepare", _prepare, "install the tools and build the binaries, start nothing", named=False
    )
    prepare.add_argument(
        "--with",
        dest="extras",
        type=_extras,
        default=[],
        metavar="PROGRAM[,PROGRAM]",
        help=f"these, too, and say where they are: {', '.join(EXTRAS)}",
    )

    image = commands.add_parser(
        "image", help="build, list, save, load and push images of a node's store", allow_abbrev=False
    )
    image.set_defaults(function=_image)
    kinds = image.add_subparsers(dest="image", required=True, metavar="WHAT")
    for name, text in (
        ("list", "the tags in the store"),
        ("base", f"make {images.BASE_IMAGE} if it is not there"),
    ):
        kinds.add_parser(name, help=text).add_argument("name", nargs="?", default=DEFAULT)
    save = kinds.add_parser("save", help="write an image to an OCI archive")
    save.add_argument("name", help="the instance")
    save.add_argument("tag", help="the image's name")
    save.add_argument("file", type=Path, help="the archive to write")
    take = kinds.add_parser("load", help="take an OCI or Docker archive into the store")
    take.add_argument("name", help="the instance")
    take.add_argument("file", type=Path, help="the archive to read")
    push = kinds.add_parser("push", help="push an image to the registry in its name, from inside the node")
    push.add_argument("name", help="the instance")
    push.add_argument("--plain-http", action="store_true", help="the registry has no TLS")
    push.add_argument("tag", help="the image's name")
    build = kinds.add_parser("build", help="build a Dockerfile into the store", allow_abbrev=False)
    build.add_argument("name", help="the instance")
    build.add_argument("context", type=Path, help="the build context's folder")
    build.add_argument(
        "--tag", required=True, help="the image's name, such as localhost/speechless/train:dev"
    )
    build.add_argument("--file", type=Path, help="the Dockerfile (default: CONTEXT/Containerfile)")
    build.add_argument("--target", default="", help="the stage to build")
    build.add_argument("--build-arg", action="append", default=[], type=_pair, metavar="KEY=VALUE")
    build.add_argument("--secret", action="append", default=[], type=_pair, metavar="id=ID,src=FILE")
    return top


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed with a message, 2 wrong usage."""
    args = parser().parse_args(argv)
    try:
        if getattr(args, "name", None):
            check_name(args.name)
        args.function(args)
    except ClusterError as problem:
        print(f"cluster: {problem}", file=sys.stderr)
        if problem.hint:
            print(f"  -> {problem.hint}", file=sys.stderr)
        return 1
    except OSError as problem:
        if problem.errno != errno.ENOSPC:
            raise
        print(
            f"cluster: the disk is full: {problem}\n  -> free some space, then run it again", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        print("cluster: interrupted; running the same command again goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
