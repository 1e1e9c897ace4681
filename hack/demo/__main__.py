"""The command: `make demo`, `make demo-clean`."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import yaml
from rich.console import Console
from rich.text import Text

from demo import answer, report, resources, watch
from demo.given import STORAGE, Given
from demo.places import Current, Own
from demo.tools import NAMESPACE, ROOT, SYSTEM, DemoError, Object, Tools
from images import version

T = TypeVar("T")
MANIFESTS = ROOT / "examples" / "demo"
IMAGE = re.compile(r"(\bimage: )localhost/speechless/([a-z-]+):dev\b")
"""An image of ours in a manifest."""
MARK = "speechless-demo=true"
"""The label of the release that the demo made."""


def main() -> int:
    """Exit status: 0 done, 1 a step failed, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__, allow_abbrev=False)
    parser.add_argument("what", choices=["run", "clean"], help="run the demo, or take it away")
    parser.add_argument(
        "--instance", default="speechless", help="the cluster of hack/cluster (default: speechless)"
    )
    parser.add_argument(
        "--cluster",
        choices=["current"],
        help="the cluster that kubectl speaks to now (KUBECONFIG and the current context), not one of hack/cluster",
    )
    parser.add_argument(
        "--registry", help="with --cluster: where its nodes pull the images from (make images-push)"
    )
    parser.add_argument("--tag", help=f"with --cluster: the images' tag (default: {version()})")
    parser.add_argument("--minutes", type=float, default=30, help="how long the chain may take (default: 30)")
    parser.add_argument(
        "--manifests", type=Path, default=MANIFESTS, help="the resources to apply (default: examples/demo)"
    )
    own = parser.add_argument_group("a model of your own: URIs, or a hub's org/name[@revision]")
    own.add_argument("--model", help="the base model; with --dataset")
    own.add_argument("--dataset", help="the rows to train it on; with --model")
    own.add_argument("--dataset_config", help="of a hub's dataset: which of its configurations")
    own.add_argument("--dataset_split", help="of a hub's dataset: which of its splits")
    own.add_argument("--problems", help="HumanEval's problems, or others like them (default: the demo's)")
    own.add_argument("--text", help="a text to measure perplexity on (default: the demo's)")
    own.add_argument("--secret", help=f"a Secret in {NAMESPACE} with what these URIs need")
    own.add_argument("--storage", help=f"how large the claim for artifacts is (default: {STORAGE})")
    args = parser.parse_args()
    given = _given(parser, args)
    if not args.manifests.is_dir():
        parser.error(f"--manifests {args.manifests} is not a folder")
    if args.cluster and args.what == "run" and not args.registry:
        parser.error(
            "CLUSTER=current needs REGISTRY=, from which the cluster's nodes pull the images: "
            "`make images-push REGISTRY=...` puts them there"
        )
    if not args.cluster and (args.registry or args.tag):
        parser.error(
            "REGISTRY and VERSION go with CLUSTER=current; a cluster of hack/cluster has its own images"
        )
    console = Console()
    try:
        place = Current(args.registry, args.tag or version()) if args.cluster else Own(args.instance)
        if args.what == "clean":
            clean(place, console)
        else:
            run(place, console, args.minutes * 60, args.manifests, given)
    except DemoError as problem:
        console.print(f"\ndemo: {problem}", style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("\ndemo: interrupted; the same command goes on from here", style="red")
        return 130
    return 0


def _given(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Given | None:
    if bool(args.model) != bool(args.dataset):
        parser.error("MODEL and DATASET go together: the model, and the rows to train it on")
    if args.model:
        words = (args.model, args.dataset, args.problems, args.text, args.secret)
        return Given(*words, args.storage or STORAGE, args.dataset_config, args.dataset_split)
    for name in ("dataset_config", "dataset_split", "problems", "text", "secret", "storage"):
        if getattr(args, name):
            parser.error(f"{name.upper()} has no effect without MODEL and DATASET")
    return None


def run(
    place: Own | Current, console: Console, seconds: float, manifests: Path, given: Given | None = None
) -> None:
    """All steps, with their times."""
    wanted = objects(manifests)
    if given:
        wanted = given.changed(wanted)  # a word that means nothing is told before a cluster is started
    times: list[tuple[str, float]] = []

    def step(name: str, work: Callable[[], T]) -> T:
        console.print(f"\n[bold]{name}[/bold]")
        began = time.monotonic()
        done = work()
        times.append((name, time.monotonic() - began))
        return done

    kube = step("A cluster", lambda: place.begin(console, wanted))
    if given and given.secret:
        wanted = given.changed(objects(manifests), given.keys(kube))
    step("The images", lambda: place.images(console))
    step("The operator", lambda: install(kube, place))
    step("The resources", lambda: apply(kube, console, wanted, place))
    rows = step("The chain", lambda: watch.watch(kube, console, seconds, resources.chain(wanted)))
    text = step("An answer", lambda: answer.ask(kube, "coder", answer.PROMPT, "coder"))
    # Not as markup: a list comprehension in brackets would be taken for a style, and vanish.
    console.print(Text.assemble((answer.PROMPT, "dim"), (text.rstrip(), "green")))
    console.print()
    console.print(report.results(rows))
    console.print("\nTimes", style="bold")
    for name, taken in [*times, ("total", sum(t for _, t in times))]:
        console.print(f"  {name:<14} {taken:7.1f} s", highlight=False)
    report.where_next(console, place.instance)


def install(kube: Tools, place: Own | Current) -> None:
    """The chart, as anyone would install it; the demo agrees to run what a model wrote."""
    if place.guest:
        leave_others_alone(kube)
    kube.run(
        "helm", "upgrade", "--install", "speechless", str(ROOT / "charts" / "speechless"),
        "--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout", "5m", "--labels", MARK,
        "--set", "allowCodeExecution=true", "--set", f"image.registry={place.registry}",
        "--set", f"image.tag={place.tag}",
        seconds=360,
    )  # fmt: skip


def leave_others_alone(kube: Tools) -> None:
    """DemoError where somebody else's release is: its settings are not the demo's to change."""
    ours = releases(kube, "--all-namespaces", "--selector", MARK)
    for release in releases(kube, "--all-namespaces"):
        if release["chart"].startswith("speechless-") and release not in ours:
            raise DemoError(
                f"release {release['name']!r} in namespace {release['namespace']!r} has Speechless already, and the "
                "demo would change its settings: apply examples/demo by hand (docs/tutorial.md), or uninstall it"
            )


def releases(kube: Tools, *which: str) -> list[dict[str, str]]:
    """Helm's releases."""
    return list(json.loads(kube.run("helm", "list", *which, "--output", "json")))


def objects(manifests: Path) -> list[Object]:
    """What the manifests hold."""
    return [
        obj
        for file in sorted(manifests.glob("*.yaml"))
        for obj in yaml.safe_load_all(file.read_text())
        if obj
    ]


def apply(kube: Tools, console: Console, wanted: list[Object], place: Own | Current) -> None:
    """`kubectl apply -f examples/demo`, or another folder with the same resources, with this cluster's images."""
    text = IMAGE.sub(
        lambda found: f"{found[1]}{place.registry}/speechless/{found[2]}:{place.tag}",
        yaml.safe_dump_all(wanted, sort_keys=False),
    )
    console.print(kube.run("kubectl", "apply", "-f", "-", stdin=text).rstrip(), highlight=False, markup=False)


def clean(place: Own | Current, console: Console) -> None:
    """Take away the demo's resources and its operator; the cluster and the images stay."""
    kube = place.connect()
    delete_namespace(kube, NAMESPACE)
    mine = releases(kube, "--namespace", SYSTEM, *(("--selector", MARK) if place.guest else ()))
    if any(release["name"] == "speechless" for release in mine):
        kube.run(
            "helm", "uninstall", "speechless", "--namespace", SYSTEM, "--wait", "--timeout", "2m", seconds=150
        )
    # With its Lease: the next operator would wait until that has run out.
    if not place.guest or (mine and not releases(kube, "--namespace", SYSTEM)):
        delete_namespace(kube, SYSTEM)
    console.print(f"the demo is gone from {kube.name}; the cluster stays", highlight=False, markup=False)


def delete_namespace(kube: Tools, name: str) -> None:
    """Delete a namespace, if it is there, and wait until it is gone."""
    kube.run(
        "kubectl", "delete", "namespace", name, "--ignore-not-found", "--wait", "--timeout=120s", seconds=150
    )


if __name__ == "__main__":
    sys.exit(main())
