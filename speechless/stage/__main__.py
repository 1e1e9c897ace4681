"""`python -m speechless.stage STAGE --spec FILE`: run one stage, report its result, exit by its reason."""

import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from speechless.arguments import Parser
from speechless.contract import (
    ExitCode,
    Failure,
    FailureReason,
    Outcome,
    ServeSpec,
    StageName,
    StageResult,
    StageSpec,
    parse_spec,
    unknown_fields,
)
from speechless.contract.progress import PORT
from speechless.errors import StageError
from speechless.failures import failure_of
from speechless.progress import Reporter, display
from speechless.stage.report import report

log = logging.getLogger("speechless.stage")


def build_parser() -> Parser:
    """The command line of a stage."""
    parser = Parser(prog="speechless stage", description="Run one stage: fetch, work, publish, report.")
    parser.add_argument("stage", choices=[name.value for name in StageName], help="the stage to run")
    parser.add_argument("--spec", type=Path, required=True, metavar="FILE", help="the stage's spec (JSON)")
    parser.add_argument(
        "--listen",
        default=f":{PORT}",
        metavar="HOST:PORT",
        help="where progress is served",
    )
    parser.add_argument(
        "--result", type=Path, metavar="FILE", help="write the result (JSON) to this file, too"
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Run a stage and return its exit status."""
    arguments = build_parser().parse(argv)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    logging.Formatter.converter = time.gmtime
    began = time.monotonic()
    judged: tuple[str, ...] = ()
    try:
        spec = _read(StageName(arguments.stage), arguments.spec)
        # A stage's own module is imported here and nowhere else: the others' packages may not be in this image.
        module = import_module(f"speechless.stage.{spec.stage}")
        if isinstance(spec, ServeSpec):
            return int(module.serve(spec))
        result, judged = _publish(spec, module, arguments.listen)
    except Exception as error:  # noqa: BLE001 - the frame's last resort: every failure is told and has a reason
        result = _failed(error, round(time.monotonic() - began, 3))
    report(result, arguments.result, judged)
    return int(result.failure.reason.exit_code if result.failure else ExitCode.OK)


def _failed(error: Exception, seconds: float) -> StageResult:
    try:
        failure = failure_of(error)
        log.error("%s: %s%s", failure.reason, failure.message, f" ({failure.hint})" if failure.hint else "")
    except Exception as second:
        log.exception("the failure itself cannot be told")
        failure = Failure(
            reason=FailureReason.INTERNAL_ERROR,
            message=f"{type(error).__name__}, whose message cannot be told: {type(second).__name__}",
            hint="the traceback is in the stage's log",
        )
    return StageResult(outcome=Outcome.FAILED, failure=failure, seconds=seconds)


def _read(stage: StageName, file: Path) -> StageSpec:
    spec = _parse(file)
    if spec.stage is not stage:
        what = f"stage: the spec is for {spec.stage}, the command is {stage}"
        raise StageError(FailureReason.INVALID_SPEC, what, "run the stage that the spec names")
    return spec


def _publish(spec: StageSpec, module: Any, listen: str) -> tuple[StageResult, tuple[str, ...]]:
    from speechless.stage import frame
    from speechless.stage.server import Server

    shown = display.choose()
    reporter = Reporter(shown)
    try:
        with _signals(reporter.stop):
            server = Server(listen, spec.stage, reporter)
            log.info("%s: progress on port %d", spec.stage, server.port)
            try:
                result: StageResult = frame.run(spec, module.STAGE, reporter)
                return result, frame.gate_metrics(spec)
            finally:
                server.close()
    finally:
        shown.close()


def _parse(file: Path) -> StageSpec:
    try:
        text = file.read_bytes()
        spec = parse_spec(text)
    except OSError as error:
        what = f"the spec {file} cannot be read: {error.strerror}"
        raise StageError(FailureReason.INVALID_SPEC, what, "name a readable file with --spec") from error
    except ValueError as error:
        hint = "the fields of a stage spec are those of speechless.contract.spec"
        raise StageError(FailureReason.INVALID_SPEC, str(error), hint) from None
    for name in unknown_fields(spec, json.loads(text)):
        log.warning("unknown field %s: this version does not know it, and goes on without", name)
    return spec


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT ask the work to end; the handlers before are put back."""

    def handle(number: int, _: FrameType | None) -> None:
        # First: a log line within another one's may raise.
        stop()
        log.warning("%s: saving what can be saved", signal.Signals(number).name)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
