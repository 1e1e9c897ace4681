"""The command `speechless-operator`."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import logging
import os
import secrets
import socket
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from speechless_operator.desired.settings import Image, Settings

DESCRIPTION = """\
The Kubernetes operator of Speechless.

It makes FineTune, Evaluation, Quantization and InferenceService happen. It finds its API server by KUBECONFIG, or by
the service account of its pod."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line. (The library has one too; the operator imports only its contract.)"""

    def error(self, message: str) -> NoReturn:
        """Print one line on standard error and exit with status 2."""
        self.exit(2, f"{self.prog}: {message} (see '{self.prog} --help')\n")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse a whole command line; a word nobody knows is an error that names the nearest known one."""
        parsed, unknown = self.parse_known_args(argv)
        if unknown:
            word = unknown[0].partition("=")[0]
            near = difflib.get_close_matches(word, ["run", *self._known()], n=1)
            self.error(f"unknown argument {word}" + (f"; did you mean {near[0]}?" if near else ""))
        return parsed

    def _known(self) -> list[str]:
        subparsers = (a for a in self._actions if isinstance(a, argparse._SubParsersAction))
        below = [flag for action in subparsers for sub in action.choices.values() for flag in sub._known()]
        return [*self._option_string_actions, *below]


def build_parser() -> Parser:
    """Return the parser of the operator's command line."""
    parser = Parser(
        prog="speechless-operator",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # The library and the operator are one distribution and have one version, set in speechless/__init__.py.
    parser.add_argument(
        "--version", action="version", version=f"speechless-operator {version('speechless-llm')}"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_run(commands.add_parser("run", help="run the operator until SIGTERM", allow_abbrev=False))
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    what = run.add_argument_group("what resources may do")
    what.add_argument(
        "--artifact-store",
        default="",
        metavar="URI",
        help="where artifacts go unless a resource says otherwise: pvc://<claim>/<path>; the claim is looked for in "
        "each resource's namespace",
    )
    for image in Image:
        what.add_argument(f"--image-{image}", default="", metavar="IMAGE", help=f"the image of stage {image}")
    what.add_argument(
        "--allow-code-execution",
        action="store_true",
        help="let Evaluations run what a model wrote, where they ask for it, too",
    )
    what.add_argument(
        "--allow-file-uris", action="store_true", help="let resources name paths in their image (file:///...)"
    )
    where = run.add_argument_group("what is watched, and by whom")
    where.add_argument(
        "--namespace",
        action="append",
        default=[],
        metavar="NAME",
        help="watch this namespace only (repeatable)",
    )
    where.add_argument(
        "--leader-elect",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="work only while holding the Lease speechless-operator (default: yes)",
    )
    where.add_argument(
        "--lease-namespace", default="", metavar="NAME", help="where the Lease is (default: own)"
    )
    where.add_argument(
        "--identity", default="", help="this replica's name (default: host name and a random part)"
    )
    how = run.add_argument_group("how it works")
    how.add_argument(
        "--listen",
        default="0.0.0.0:8081",
        metavar="HOST:PORT",
        help="/livez, /readyz and /metrics (default: %(default)s)",
    )
    how.add_argument(
        "--workers", type=int, default=8, help="resources worked on at once (default: %(default)s)"
    )
    how.add_argument(
        "--resync-seconds",
        type=float,
        default=300,
        help="between two comparisons with the API server (default: 300)",
    )
    how.add_argument(
        "--progress-via",
        choices=["pod", "apiserver"],
        default="pod",
        help="how running stages are asked: at their pod's address, or through the API server, which an operator "
        "outside the cluster needs (default: pod)",
    )
    how.add_argument(
        "--qps", type=float, default=100, help="requests a second to the API server (default: 100)"
    )
    how.add_argument("--burst", type=int, default=200, help="requests at once above that (default: 200)")
    how.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], default="info", help="(default: info)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 for a failure, 2 for a usage error."""
    parser = build_parser()
    arguments = parser.parse(sys.argv[1:] if argv is None else list(argv))
    if arguments.command is None:
        parser.print_help()
        return 0
    return _run(parser, arguments)


def _run(parser: Parser, arguments: argparse.Namespace) -> int:
    # Imported here: `--help` and `--version` need neither kopf nor the Kubernetes client.
    from speechless_operator.runtime import access, app

    logging.basicConfig(
        level=arguments.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
    store = arguments.artifact_store
    if store and not store.startswith("pvc://"):
        parser.error(f"--artifact-store {store}: must be pvc://<claim>/<path>")
    settings = Settings(
        images={image: getattr(arguments, f"image_{image.replace('-', '_')}") for image in Image},
        artifact_store=store,
        allow_code_execution=arguments.allow_code_execution,
        allow_file_uris=arguments.allow_file_uris,
    )

    async def go() -> None:
        options = app.Options(
            settings=settings,
            identity=arguments.identity or f"{socket.gethostname()}_{secrets.token_hex(4)}",
            lease_namespace=arguments.lease_namespace or access.own_namespace(),
            namespaces=arguments.namespace,
            listen=arguments.listen,
            leader_elect=arguments.leader_elect,
            workers=arguments.workers,
            resync_seconds=arguments.resync_seconds,
            progress_by_proxy=arguments.progress_via == "apiserver",
            qps=arguments.qps,
            burst=arguments.burst,
        )
        await app.Operator(access.load(), options).run()

    try:
        asyncio.run(go())
    except (access.AccessError, app.StartError) as error:
        print(f"speechless-operator: {error}", file=sys.stderr)
        return 1
    except app.LeaseLostError as error:
        # Another replica may be at work already: nothing of this one may go on for a moment longer.
        print(f"speechless-operator: {error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)
    return 0
