"""The flags of `speechless-operator`, and what `--help` teaches of them."""

from __future__ import annotations

import argparse
import re
from importlib.metadata import version
from pathlib import Path

from speechless.arguments import DefaultsRawHelp, Parser
from speechless.contract import storage
from speechless_operator.desired.settings import image_names

DESCRIPTION = """\
The Kubernetes operator of Speechless.

It carries out FineTunes, Evaluations, Quantizations and InferenceServices. It finds its API server by KUBECONFIG, or by
the service account of its pod."""

RUN = """\
Run the operator until SIGTERM. The chart (charts/speechless) sets these flags from its values.

Outside a cluster, for one namespace:
  speechless-operator run --namespace demo --progress-via apiserver --artifact-store pvc://artifacts/store \\
    --image-train registry.example/train:1 --image-eval registry.example/eval:1"""

CONFIG = """\
The file of --config, in YAML or JSON; every part may be left out:
  stagePods:                      # how every pod of a stage looks unless a resource says otherwise
    imagePullPolicy: Always
    imagePullSecrets: [{name: registry}]   # in each resource's namespace
    labels: {team: ml}
    annotations: {sidecar.istio.io/inject: "false"}
    env: [{name: HTTPS_PROXY, value: "http://proxy.example:3128"}]
    uid: null                     # the cluster chooses (OpenShift); without it 65532
    nodeSelector: {pool: ml}
    tolerations: [{key: ml, operator: Exists}]
    priorityClassName: batch
    runtimeClassName: gvisor
  ceilings:                       # limits for what resources may ask for; absent or null: anything, []: nothing
    imagePrefixes: [registry.example/ml/]
    allowEnv: false
    allowVolumes: false
    serviceAccounts: []
    priorityClasses: [batch, low]
    runtimeClasses: [gvisor]
    uriPrefixes: [pvc://models, pvc://artifacts]
    engineArgs: [--threads, --batch-size]
What each means: docs/security.md."""


def build_parser() -> Parser:
    """Return the parser of the operator's command line."""
    parser = Parser(
        prog="speechless-operator",
        description=DESCRIPTION,
        formatter_class=DefaultsRawHelp,
    )
    # The library and the operator are one distribution and have one version, set in speechless/__init__.py.
    parser.add_version(own_version())
    parser.add_completion()
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run the operator until SIGTERM",
        description=RUN,
        epilog=CONFIG,
        formatter_class=DefaultsRawHelp,
    )
    _add_what(run.add_argument_group("what resources may do"))
    _add_where(run.add_argument_group("what is watched, and by whom"))
    _add_how(run.add_argument_group("how it works"))
    return parser


def _add_what(what: argparse._ArgumentGroup) -> None:
    what.add_argument(
        "--artifact-store",
        default="",
        metavar="URI",
        help=f"where artifacts go unless a resource says otherwise: {storage.plain_examples(writable=True)}; "
        "a claim is looked for in each resource's namespace",
    )
    what.add_argument(
        "--artifact-store-secret",
        default="",
        metavar="NAME",
        help="the Secret with what writing there needs, such as AWS_ACCESS_KEY_ID; one of this name is looked for "
        "in each resource's namespace",
    )
    for image in image_names():
        what.add_argument(f"--image-{image}", default="", metavar="IMAGE", help=f"the image {image}")
    what.add_argument(
        "--allow-code-execution",
        action="store_true",
        help="allow Evaluations to run code that a model wrote; each must ask for it, too",
    )
    what.add_argument(
        "--allow-file-uris",
        action="store_true",
        help="allow resources to name paths in their image (file:///...)",
    )
    what.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="defaults for the pods of stages, and limits for what resources may ask for; see below",
    )


def _add_where(where: argparse._ArgumentGroup) -> None:
    where.add_argument(
        "--namespace",
        action="append",
        default=[],
        metavar="NAME",
        help="watch this namespace only (repeatable; default: all)",
    )
    where.add_argument(
        "--leader-elect",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="work only while holding the Lease (default: yes)",
    )
    where.add_argument(
        "--lease-name",
        type=_object_name,
        default="speechless-operator",
        metavar="NAME",
        help="name of the Lease. One replica of those that share it works; operators of other namespaces need another",
    )
    where.add_argument(
        "--lease-namespace", default="", metavar="NAME", help="namespace of the Lease (default: own)"
    )
    where.add_argument(
        "--identity", default="", help="this replica's name (default: host name and a random part)"
    )


def _add_how(how: argparse._ArgumentGroup) -> None:
    how.add_argument(
        "--listen",
        default="0.0.0.0:8081",
        metavar="HOST:PORT",
        help="/livez, /readyz and /metrics",
    )
    how.add_argument("--workers", type=_at_least(1), default=8, help="resources handled at the same time")
    how.add_argument(
        "--resync-seconds",
        type=_seconds,
        default=300,
        help="seconds between two comparisons with the API server",
    )
    how.add_argument(
        "--watch-with",
        choices=["reflector", "kopf"],
        default="reflector",
        help="what watches the four kinds: reflector, which watches their children, too; or kopf, which takes several "
        "times the CPU for an event",
    )
    how.add_argument(
        "--progress-via",
        choices=["pod", "apiserver"],
        default="pod",
        help="how the progress of running stages is read: at their pod's address, or through the API server, which an "
        "operator outside the cluster needs",
    )
    how.add_argument(
        "--qps",
        type=_rate,
        default=0,
        help="largest number of requests a second to the API server. 0: no limit here; the API server's priority and "
        "fairness decides. Requests for the Lease are never limited",
    )
    how.add_argument(
        "--burst",
        type=_at_least(1),
        default=200,
        help="with --qps: how many requests may be sent at once above it",
    )
    how.add_argument(
        "--log-level",
        choices=["debug", "info", "warning", "error"],
        default="info",
        help="the lowest level that is logged",
    )


class _at_least:  # noqa: N801 - used as a function
    """An integer of a least size; argparse shows the message."""

    def __init__(self, least: int) -> None:
        self._least = least

    def __call__(self, text: str) -> int:
        try:
            number = int(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"not a whole number: {text}") from error
        if number < self._least:
            raise argparse.ArgumentTypeError(f"must be {self._least} or more: {text}")
        return number


def _number(text: str, least: float) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a number: {text}") from error
    if not least <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be {least:g} or more: {text}")
    return number


def _rate(text: str) -> float:
    return _number(text, 0)


def _seconds(text: str) -> float:
    return _number(text, 1)


def _object_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(
            f"not a name of an object (lower-case letters, digits, -, .): {text}"
        )
    return text


def own_version() -> str:
    """The version of the distribution."""
    return version("speechless-llm")
