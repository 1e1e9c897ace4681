"""Build the images with an engine of yours and push them to a registry: `make images-push REGISTRY=...`.

    python3 hack/push.py registry.example/team                 with what is on the PATH
    python3 hack/push.py registry.example/team --engine podman
    python3 hack/push.py registry.example/team --print         the commands, to read, change and run
    python3 hack/push.py localhost --no-push                   build alone

The images are called REGISTRY/speechless/NAME:VERSION, as the chart expects with `image.registry=REGISTRY`. Each is
pushed as soon as it is built, the small one first: a registry that refuses says so before the long builds.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from images import BASE_IMAGE as CLUSTER_BASE_IMAGE
from images import (
    IMAGES,
    PREFIX,
    ROOT,
    SHIPPED,
    build,
    build_args,
    loading,
    revision,
    tag,
    version,
    with_needs,
)

BAKE = "images/docker-bake.hcl"
BASE_IMAGE = "python:3.11-slim-bookworm"
PLATFORM = "linux/amd64"
REGISTRY = re.compile(r"[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")
"""A host with a port, and folders, as in the reference of an image (github.com/distribution/reference)."""
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
WORDS = 240
"""What is told of an engine's last line: its end, where the cause is."""


@dataclass(frozen=True)
class Engine:
    """A program that builds a Dockerfile and pushes an image. A new one is a row of `ENGINES`."""

    name: str
    asks: tuple[str, ...]
    """A command that succeeds where the engine is."""
    build: tuple[str, ...]
    """The beginning of the command that builds; `--tag`, `--file`, `--build-arg` and the context follow."""
    push: tuple[str, ...]
    """The beginning of the command that pushes; the image's name follows."""
    plain_http: tuple[str, ...] | None
    """What `push` takes for a registry without TLS. None: it is a setting of the engine's own, elsewhere."""
    login: str
    """How to log in to a registry."""
    bakes: bool = False
    """It builds and pushes all of them by `images/docker-bake.hcl`, for several platforms."""
    platform: bool = True
    """Whether it can be told a platform; otherwise it builds for its own."""
    base_image: str = BASE_IMAGE
    """What the images stand on, unless another is asked for."""
    root: str = ""
    """Before the paths of a command; empty: they are relative to the checkout, in which the command runs."""
    kept: Callable[[str, str], Sequence[str] | None] = lambda _name, _base: None
    """The command that takes an image (its name, its base image) from a cache instead of building it; None: build."""


ENGINES = {
    row.name: row
    for row in (
        Engine(
            "buildx",
            ("docker", "buildx", "version"),
            ("docker", "buildx", "bake", "--load"),
            ("docker", "buildx", "bake", "--push"),
            None,
            "docker login",
            bakes=True,
        ),
        Engine(
            "docker", ("docker", "version"), ("docker", "build"), ("docker", "push"), None, "docker login"
        ),
        Engine(
            "podman",
            ("podman", "--version"),
            ("podman", "build", "--layers"),
            ("podman", "push"),
            ("--tls-verify=false",),
            "podman login",
        ),
        Engine(
            "buildah",
            ("buildah", "--version"),
            ("buildah", "build", "--layers"),
            ("buildah", "push"),
            ("--tls-verify=false",),
            "buildah login",
        ),
    )
}
CLUSTER = "cluster"
"""The engine of an instance of hack/cluster, which is asked for by name."""


@dataclass(frozen=True)
class Command:
    """One command of an engine."""

    name: str
    """Of its log file, too."""
    argv: Sequence[str]
    pushes: str = ""
    """The image that it pushes, or what it pushes among others."""
    env: Mapping[str, str] = field(default_factory=dict)

    def shown(self) -> str:
        """To type it."""
        return " ".join(
            [*(f"{name}={shlex.quote(value)}" for name, value in self.env.items()), shlex.join(self.argv)]
        )


def cluster_engine(instance: str) -> Engine:
    """BuildKit and the image store of an instance of hack/cluster, which pushes from inside its node."""
    program = (sys.executable, "-m", "cluster", "image")
    return Engine(
        CLUSTER,
        (),
        (*program, "build", instance),
        (*program, "push", instance),
        ("--plain-http",),
        "none",
        platform=False,
        base_image=CLUSTER_BASE_IMAGE,
        root=f"{ROOT}/",
        kept=lambda name, base: loading(instance, name, base),
    )


def found() -> Engine | None:
    """The first engine of the table that is on this machine."""
    return next((row for row in ENGINES.values() if _succeeds(row.asks)), None)


def _succeeds(argv: Sequence[str]) -> bool:
    if shutil.which(argv[0]) is None:
        return False
    return subprocess.run(argv, capture_output=True, check=False, stdin=subprocess.DEVNULL).returncode == 0


def commands(engine: Engine, given: argparse.Namespace) -> list[Command]:
    """What is run, in order."""
    if engine.bakes:
        return _baked(engine, given)
    made = []
    base = given.base_image or engine.base_image
    for name in with_needs(given.names):
        args = build_args(name, base, lambda need: tag(need, given.version))
        if name in SHIPPED:
            args |= {"VERSION": given.version, "REVISION": revision()}
        full = f"{given.registry}/speechless/{name}:{given.version}"
        target = full if name in SHIPPED else tag(name, given.version)
        options = ["--tag", target, "--file", f"{engine.root}images/{name}/Containerfile"]
        options += [part for key, value in args.items() for part in ("--build-arg", f"{key}={value}")]
        options += [part for secret in given.secret for part in ("--secret", secret)]
        options += ["--platform", given.platform] if engine.platform else []
        kept = engine.kept(name, args.get("BASE_IMAGE", ""))
        made.append(Command(name, kept or [*engine.build, *options, engine.root or "."]))
        if name in SHIPPED and not given.no_push:
            plain = (engine.plain_http or ()) if given.plain_http else ()
            made.append(Command(f"{name}-push", [*engine.push, *plain, full], pushes=full))
    return made


def _baked(engine: Engine, given: argparse.Namespace) -> list[Command]:
    """The small image first, then what was asked for."""
    wanted = [name for name in with_needs(given.names) if name in SHIPPED]
    env = {
        "REGISTRY": given.registry,
        "VERSION": given.version,
        "REVISION": revision(),
        "PLATFORMS": given.platform,
        "BASE_IMAGE": given.base_image or BASE_IMAGE,
    }
    secrets = [part for secret in given.secret for part in ("--set", f"*.secrets={secret}")]
    turns = [wanted[:1], wanted] if len(wanted) > 1 else [wanted]
    return [
        Command(
            f"bake-{turn[-1]}",
            [
                *(engine.build if given.no_push else engine.push),
                "--progress",
                "plain",
                "--file",
                BAKE,
                *secrets,
                *turn,
            ],
            pushes="" if given.no_push else f"{given.registry}/speechless/{turn[-1]}:{given.version}",
            env=env,
        )
        for turn in turns
    ]


def bake_file() -> str:
    """images/docker-bake.hcl, made from the table of hack/images.py."""
    lines = [
        "# Made by `python3 hack/push.py --write-bake`: the table is in hack/images.py.",
        "#",
        f"#     REGISTRY=registry.example/team docker buildx bake --push --file {BAKE}",
        "",
    ]
    for name, default in (
        ("REGISTRY", PREFIX.split("/")[0]),
        ("VERSION", version()),
        ("REVISION", "unknown"),
        ("PLATFORMS", PLATFORM),
        ("BASE_IMAGE", BASE_IMAGE),
    ):
        lines.append(f'variable "{name}" {{ default = "{default}" }}')
    lines += [
        "",
        f'group "default" {{ targets = [{", ".join(f"{n!r}" for n in SHIPPED)}] }}'.replace("'", '"'),
        "",
        'target "common" {',
        '  context   = "."',
        '  platforms = split(",", PLATFORMS)',
        "}",
    ]
    for name, needs in IMAGES.items():
        args = build_args(name, "BASE_IMAGE", lambda need: f'"speechless-{need}"')
        args |= {"VERSION": "VERSION", "REVISION": "REVISION"} if name in SHIPPED else {}
        lines += [
            "",
            f'target "{name}" {{',
            '  inherits   = ["common"]',
            f'  dockerfile = "images/{name}/Containerfile"',
            *_block("contexts", {f"speechless-{need}": f'"target:{need}"' for need in needs}),
            *_block("args", args),
            *(
                [f'  tags       = ["${{REGISTRY}}/speechless/{name}:${{VERSION}}"]']
                if name in SHIPPED
                else []
            ),
            "}",
        ]
    return "\n".join(lines) + "\n"


def _block(name: str, pairs: Mapping[str, str]) -> Iterable[str]:
    if pairs:
        yield f"  {name:<10} = {{"
        yield from (f"    {key} = {value}" for key, value in pairs.items())
        yield "  }"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="images-push",
        usage="make images-push REGISTRY=... [ENGINE=... VERSION=... PLATFORMS=...], "
        "or python3 hack/push.py REGISTRY [IMAGE ...] [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("registry", nargs="?", help="where to: HOST[:PORT][/FOLDER]")
    made.add_argument("names", nargs="*", metavar="IMAGE", help=f"of {', '.join(SHIPPED)} (default: all)")
    made.add_argument(
        "--engine",
        choices=[*ENGINES, CLUSTER],
        help="what builds and pushes (default: the first of these that is there, but never `cluster`)",
    )
    made.add_argument(
        "--instance", default="speechless", help="with --engine cluster: which one (default: speechless)"
    )
    made.add_argument("--version", default=version(), help="the tag (default: the project's, %(default)s)")
    made.add_argument(
        "--platform",
        default=PLATFORM,
        help="of the images; several with commas, by buildx (default: %(default)s)",
    )
    made.add_argument("--base-image", help=f"Debian 12 with Python 3.11 and venv (default: {BASE_IMAGE})")
    made.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="id=ID,src=FILE",
        help="for the builds: `ca`, a bundle of certificates; `pipconf`, a pip.conf that names another index",
    )
    made.add_argument(
        "--plain-http", action="store_true", help="the registry has no TLS (one of a test, on this machine)"
    )
    made.add_argument(
        "--no-push", action="store_true", help="build alone: for kind or minikube, which load images"
    )
    made.add_argument("--print", action="store_true", help="print the commands instead of running them")
    made.add_argument("--write-bake", action="store_true", help=f"write {BAKE} from the table, and end")
    made.add_argument(
        "--log",
        type=Path,
        default=ROOT / "build" / "images",
        help="the folder of the logs (default: build/images)",
    )
    return made


def chosen(made: argparse.ArgumentParser, given: argparse.Namespace) -> Engine:
    """The engine that was asked for, or the first that is there; a usage error where there is none."""
    if given.engine == CLUSTER:
        return cluster_engine(given.instance)
    if given.engine:
        engine = ENGINES[given.engine]
        if not given.print and not _succeeds(engine.asks):
            made.error(f"--engine {engine.name}: `{shlex.join(engine.asks)}` does not succeed here")
        return engine
    if (first := found()) is not None:
        return first
    if not given.print:
        made.error("Docker, podman and buildah are not on this machine: install one of them")
    return next(iter(ENGINES.values()))


def checked(made: argparse.ArgumentParser, given: argparse.Namespace) -> Engine:
    """The engine; a usage error where what was given does not fit."""
    if not given.registry:
        made.error("name the registry: make images-push REGISTRY=registry.example/team")
    if "://" in given.registry or not REGISTRY.fullmatch(given.registry):
        made.error(
            f"{given.registry!r} is no registry: HOST[:PORT][/FOLDER], in lower case, without a scheme"
        )
    if not TAG.fullmatch(given.version):
        made.error(f"--version {given.version!r} is no tag: letters, digits, dots, hyphens and underscores")
    if unknown := [name for name in given.names if name not in SHIPPED]:
        made.error(f"no image {unknown[0]!r}: there are {', '.join(SHIPPED)}")
    engine = chosen(made, given)
    if not engine.platform and given.platform != PLATFORM:
        made.error(f"the engine {engine.name} builds for its own platform: leave PLATFORMS away")
    if "," in given.platform and not engine.bakes:
        made.error(f"several platforms at once need buildx; {engine.name} takes one")
    if given.plain_http and engine.plain_http is None:
        made.error(
            f"{engine.name} takes a registry without TLS from the settings of its daemon (insecure-registries), "
            "and one on 127.0.0.1 as it is: leave --plain-http away"
        )
    return engine


def run(engine: Engine, made: Sequence[Command], logs: Path) -> int:
    """Run the commands; 1 after the first that fails, which has been told."""
    for command in made:
        if build([*command.argv], command.name, logs, env=command.env, lines=0 if command.pushes else 40):
            continue
        if command.pushes:
            log = logs / f"{command.name}.log"
            words = "".join([line for line in log.read_text(errors="replace").splitlines() if line][-1:])
            cause = words if len(words) <= WORDS else f"...{words[-WORDS:]}"
            print(
                f"images-push: {command.pushes} was not pushed: {cause}\n"
                f"  -> look at the registry's name and at your login (`{engine.login}`), then run it again: "
                f"what is built is kept. All that was printed: {log}",
                file=sys.stderr,
            )
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 pushed, 1 something failed, 2 wrong usage."""
    made = parser()
    given = made.parse_args(argv)
    if given.write_bake:
        (ROOT / BAKE).write_text(bake_file())
        return 0
    engine = checked(made, given)
    todo = commands(engine, given)
    if given.print:
        print("\n".join(command.shown() for command in todo))
        return 0
    print(f"images-push: with {engine.name}; logs in {given.log}", flush=True)
    began = time.monotonic()
    try:
        if run(engine, todo, given.log):
            return 1
    except KeyboardInterrupt:
        print("images-push: interrupted; what is built is kept", file=sys.stderr)
        return 130
    if given.no_push:
        print(f"built in {time.monotonic() - began:.0f} s: {given.registry}/speechless/...:{given.version}")
        return 0
    print(f"pushed in {time.monotonic() - began:.0f} s. To install:\n")
    print(
        "  helm upgrade --install speechless charts/speechless --namespace speechless-system \\\n"
        f"    --create-namespace --wait --set image.registry={given.registry} --set image.tag={given.version}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
