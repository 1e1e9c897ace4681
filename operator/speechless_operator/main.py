"""The command `speechless-operator`."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import secrets
import socket
import sys
from collections.abc import Sequence

from speechless.contract import storage
from speechless_operator.desired.settings import AdministratorFile, Settings, image_names
from speechless_operator.flags import build_parser, own_version


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 for a failure, 2 for a usage error."""
    parser = build_parser()
    arguments = parser.parse(sys.argv[1:] if argv is None else list(argv))
    if arguments.command is None and not arguments.print_completion:
        parser.print_help()
        return 0
    try:
        if arguments.print_completion:
            print(parser.completion(arguments.print_completion))
            return 0
        return _run(parser, arguments)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] in ("speechless", "speechless_operator"):
            raise
        print(
            f"speechless-operator: the package {error.name.partition('.')[0]} is not installed: "
            "pip install 'speechless-llm[operator]' brings it",
            file=sys.stderr,
        )
        return 1


def _store_problem(uri: str) -> str:
    """What is wrong with an address for artifacts; nothing if it can be written to."""
    row = storage.scheme_of(uri)
    if row is None or not row.may_write:
        return f"must be {storage.examples(writable=True)}"
    try:
        storage.check_base(uri)
    except storage.UriError as error:
        return f"{error.what}: {error.hint}"
    return ""


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    # Imported here: `--help` and `--version` need neither kopf nor the Kubernetes client.
    import uvloop

    from speechless_operator.runtime import access, app, configfile

    logging.basicConfig(
        level=arguments.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
    store = arguments.artifact_store
    if store and (problem := _store_problem(store)):
        parser.error(f"--artifact-store {store}: {problem}")
    row = storage.scheme_of(store)
    if arguments.artifact_store_secret and (row is None or not row.settings):
        parser.error(f"--artifact-store-secret: {store or 'no artifact store'} takes no Secret: remove it")
    try:
        file = configfile.load(arguments.config) if arguments.config else AdministratorFile()
    except configfile.ConfigError as error:
        for line in str(error).splitlines():
            print(f"speechless-operator: --config {line}", file=sys.stderr)
        return 2
    settings = Settings(
        images={name: getattr(arguments, f"image_{name.replace('-', '_')}") for name in image_names()},
        artifact_store=store,
        artifact_store_secret=arguments.artifact_store_secret,
        allow_code_execution=arguments.allow_code_execution,
        allow_file_uris=arguments.allow_file_uris,
        pods=file.stage_pods,
        ceilings=file.ceilings,
        operator_version=own_version(),
    )

    async def go() -> None:
        options = app.Options(
            settings=settings,
            identity=arguments.identity or f"{socket.gethostname()}_{secrets.token_hex(4)}",
            lease_namespace=arguments.lease_namespace or access.own_namespace(),
            lease_name=arguments.lease_name,
            namespaces=arguments.namespace,
            listen=arguments.listen,
            leader_elect=arguments.leader_elect,
            workers=arguments.workers,
            resync_seconds=arguments.resync_seconds,
            progress_by_proxy=arguments.progress_via == "apiserver",
            kopf=arguments.watch_with == "kopf",
            qps=arguments.qps,
            burst=arguments.burst,
        )
        await app.Operator(access.load(), options).run()

    # What was imported stays; what a watch brings is many small objects without cycles, looked through in vain.
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    try:
        uvloop.run(go())
    except (access.AccessError, app.StartError) as error:
        print(f"speechless-operator: {error}", file=sys.stderr)
        return 1
    except app.LeaseLostError as error:
        # Another replica may be at work already: nothing of this one may go on for a moment longer.
        print(f"speechless-operator: {error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)
    return 0
