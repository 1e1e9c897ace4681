"""The stage `serve`: verify the model, then run the engine; signals reach it, and the exit status is the engine's."""

import logging
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from speechless.api import supervise
from speechless.api.supervise import Asked
from speechless.contract import FailureReason, Format, ServeSpec, engines
from speechless.contract.needs import serving_problem
from speechless.errors import StageError
from speechless.stage.frame import access, source_store
from speechless.stage.waiting import await_source
from speechless.store import Opened
from speechless.store.modelcheck import check_model

log = logging.getLogger("speechless.stage")


def serve(spec: ServeSpec) -> int:
    """Serve until the engine ends or SIGTERM comes, and return its exit status, 0 after a signal.

    An engine that would drop the requests that are under way is run as a child, and ended when they are answered or the
    engine's drain seconds are over. One that drains by itself replaces this process. StageError if the model is not the
    one asked for, if no engine is here, or if a signal came before there was one.
    """
    from speechless.api.engines import command

    row = engines.ENGINES[spec.engine]
    with _signals() as asked:

        def check(_: object = None) -> None:
            if asked.by is not None:
                what = f"{asked.by.name} before the engine was started"
                raise StageError(FailureReason.INTERRUPTED, what, "nothing is lost: start it again")

        log.info("verifying %s", spec.model.uri)
        store = source_store(spec.model, access(spec))
        await_source(store, spec.model, waiting=log.info, check=check)
        opened = store.open(spec.model, Path(spec.work_dir) / "model", tick=check)
        check()
        wanted = command(spec, model_path(spec, opened))
        environment = engine_environment(row, os.environ)
        log.info("%s is %s; starting %s", spec.model.uri, opened.digest, wanted.argv)
        for handler in logging.getLogger().handlers:
            handler.flush()
        try:
            if wanted.drains_itself:
                os.execvpe(wanted.argv[0], wanted.argv, environment)
            return supervise.run(
                wanted.argv,
                f"http://{_reachable(spec.host)}:{spec.port}",
                environment=environment,
                key=environment.get("LLAMA_API_KEY", "").partition(",")[0] or None,
                drain_seconds=spec.drained_within,
                asked=asked,
            )
        except OSError as error:
            what = f"engine: {spec.engine} cannot be started: {wanted.argv[0]}: {error.strerror}"
            raise StageError(FailureReason.INVALID_SPEC, what, "use the image of this engine") from error


def engine_environment(row: engines.Engine, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what the engine would take arguments from, past the list of those that are allowed."""
    dropped = sorted(name for name in environment if name.startswith(row.environment))
    if dropped:
        log.warning("not handed to %s: %s; use engineArgs", row.name, ", ".join(dropped))
        return {name: value for name, value in environment.items() if name not in dropped}
    return dict(environment)


def model_path(spec: ServeSpec, opened: Opened) -> Path:
    """What the engine is given: the one GGUF file, or a model's folder. StageError if it does not serve that model."""
    row = engines.ENGINES[spec.engine]
    judge = partial(serving_problem, row)
    info = check_model(opened.path, spec.model.uri, judge, manifest=opened.manifest)
    limit = info.context_length if info else None
    if limit and spec.context_length and spec.context_length > limit:
        what = f"contextLength: {spec.context_length}, and {spec.model.uri} was trained for {limit} tokens"
        hint = f"leave contextLength out, or set {limit} at most: the engine would give no more"
        raise StageError(FailureReason.INVALID_SPEC, what, hint)
    if Format.GGUF not in row.formats or opened.path.is_file():
        return opened.path
    files = sorted(opened.path.glob("*.gguf"))
    if len(files) != 1:
        what = f"{spec.model.uri}: {len(files)} .gguf files at the top of the folder instead of one"
        raise StageError(FailureReason.MODEL_INVALID, what, "name the file itself in the URI")
    return files[0]


def _reachable(host: str) -> str:
    """The address at which what listens on `host` answers this machine."""
    own = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"[{own}]" if ":" in own else own


@contextmanager
def _signals() -> Iterator[Asked]:
    """What SIGTERM and SIGINT ask, from the first second: the first process of a container would not notice them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    asked = Asked()
    asked.listen()
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
