"""The command: `make demo`, `make demo-clean`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.text import Text

from demo import answer, report, tools, watch
from demo.tools import NAMESPACE, ROOT, SYSTEM, DemoError, Tools

T = TypeVar("T")
MANIFESTS = ROOT / "examples" / "demo"


def main() -> int:
    """Exit status: 0 done, 1 a step failed, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__, allow_abbrev=False)
    parser.add_argument("what", choices=["run", "clean"], help="run the demo, or take it away")
    parser.add_argument(
        "--instance", default="speechless", help="the cluster of hack/cluster (default: speechless)"
    )
    parser.add_argument("--minutes", type=float, default=30, help="how long the chain may take (default: 30)")
    parser.add_argument(
        "--manifests", type=Path, default=MANIFESTS, help="the resources to apply (default: examples/demo)"
    )
    args = parser.parse_args()
    if not args.manifests.is_dir():
        parser.error(f"--manifests {args.manifests} is not a folder")
    console = Console()
    try:
        if args.what == "clean":
            clean(args.instance, console)
        else:
            run(args.instance, console, args.minutes * 60, args.manifests)
    except DemoError as problem:
        console.print(f"\ndemo: {problem}", style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("\ndemo: interrupted; `make demo` goes on from here", style="red")
        return 130
    return 0


def run(instance: str, console: Console, seconds: float, manifests: Path) -> None:
    """All steps, with their times."""
    times: list[tuple[str, float]] = []

    def step(name: str, work: Callable[[], T]) -> T:
        console.print(f"\n[bold]{name}[/bold]")
        began = time.monotonic()
        done = work()
        times.append((name, time.monotonic() - began))
        return done

    step("A cluster", lambda: tools.cluster("up", instance, "--nodes", "1"))
    kube = tools.connect(instance)
    step("The images", lambda: images(instance))
    step("The operator", lambda: install(kube))
    step("The resources", lambda: apply(kube, console, manifests))
    rows = step("The chain", lambda: watch.watch(kube, console, seconds))
    text = step("An answer", lambda: answer.ask(kube, "coder", answer.PROMPT, "coder"))
    # Not as markup: a list comprehension in brackets would be taken for a style, and vanish.
    console.print(Text.assemble((answer.PROMPT, "dim"), (text.rstrip(), "green")))
    console.print()
    console.print(report.results(rows))
    console.print("\nTimes", style="bold")
    for name, taken in [*times, ("total", sum(t for _, t in times))]:
        console.print(f"  {name:<14} {taken:7.1f} s", highlight=False)
    report.where_next(console, instance, str(kube.kubeconfig))


def images(instance: str) -> None:
    """Build what is not built; the engine's cache decides."""
    argv = [sys.executable, str(ROOT / "hack" / "images.py"), "--instance", instance]
    if subprocess.run(argv, check=False, cwd=ROOT).returncode:
        raise DemoError("an image could not be built; see above")


def install(kube: Tools) -> None:
    """The chart, as anyone would install it; the demo agrees to run what a model wrote."""
    kube.run(
        "helm", "upgrade", "--install", "speechless", str(ROOT / "charts" / "speechless"),
        "--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout", "5m",
        "--set", "allowCodeExecution=true", "--set", "image.registry=localhost", "--set", "image.tag=dev",
        seconds=360,
    )  # fmt: skip


def apply(kube: Tools, console: Console, manifests: Path) -> None:
    """`kubectl apply -f examples/demo`, or another folder with the same resources."""
    console.print(kube.run("kubectl", "apply", "-f", str(manifests)).rstrip(), highlight=False, markup=False)


def clean(instance: str, console: Console) -> None:
    """Take away the demo's resources and the operator; the cluster and the images stay."""
    kube = tools.connect(instance)
    delete_namespace(kube, NAMESPACE)
    releases = kube.run("helm", "list", "--namespace", SYSTEM, "--short").split()
    if "speechless" in releases:
        kube.run(
            "helm", "uninstall", "speechless", "--namespace", SYSTEM, "--wait", "--timeout", "2m", seconds=150
        )
    # With its Lease: the next operator would wait until that has run out.
    delete_namespace(kube, SYSTEM)
    console.print(f"the demo is gone from {instance!r}; `make cluster-down` stops the cluster")


def delete_namespace(kube: Tools, name: str) -> None:
    """Delete a namespace, if it is there, and wait until it is gone."""
    kube.run(
        "kubectl", "delete", "namespace", name, "--ignore-not-found", "--wait", "--timeout=120s", seconds=150
    )


if __name__ == "__main__":
    sys.exit(main())
