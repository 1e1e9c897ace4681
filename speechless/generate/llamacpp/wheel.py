"""llama.cpp's own server out of the wheel xllamacpp, for machines on which llama-server is not installed.

    python -m speechless.generate.llamacpp.wheel --model m.gguf --host 127.0.0.1 --port 8080

It takes those of llama-server's flags that this project uses, by the same names and meanings, and is the same server:
routes, metrics, keys. Built for old processors too, it is slower than a llama-server that was built for this one.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechless.arguments import Parser
from speechless.entry import run
from speechless.openmp import LIBRARY, provide

PACKAGE = "xllamacpp"
MODULE = "speechless.generate.llamacpp.wheel"
KEY_VARIABLE = "LLAMA_API_KEY"
"""As llama-server reads it: keys, with commas between."""


def installed() -> bool:
    """Whether the wheel is there."""
    return importlib.util.find_spec(PACKAGE) is not None


def build_parser() -> Parser:
    """The flags, as llama-server has them (tools/server/README.md in llama.cpp)."""
    parser = Parser(
        prog="llama-server of xllamacpp",
        description="llama.cpp's server out of the wheel xllamacpp.",
        epilog="For more flags install llama.cpp and put its llama-server on the PATH.",
    )
    parser.add_argument(
        "--version", action="version", version=f"version: {PACKAGE} {importlib.metadata.version(PACKAGE)}"
    )
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--alias", help="the name that clients ask for")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="the port to listen on (default: 8080)")
    parser.add_argument("--parallel", type=int, default=1, help="slots: requests at a time (default: 1)")
    parser.add_argument("--ctx-size", type=int, default=0, help="tokens of all slots (default: the model's)")
    parser.add_argument("--kv-unified", action="store_true", help="the slots share one context")
    parser.add_argument("--metrics", action="store_true", help="serve /metrics")
    parser.add_argument("--temp", type=float, help="default temperature of a request")
    parser.add_argument("--top-k", type=int, help="default top-k; 0: off")
    parser.add_argument("--top-p", type=float, help="default top-p; 1: off")
    parser.add_argument("--min-p", type=float, help="default min-p; 0: off")
    parser.add_argument("--n-predict", type=int, help="tokens that are made where a request does not say")
    parser.add_argument("--threads", type=int, help="threads (default: one for each core)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    given = build_parser().parse(sys.argv[1:] if argv is None else argv)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    provide()
    try:
        import xllamacpp
    except ModuleNotFoundError:
        raise
    except ImportError as error:
        hint = "; Debian has it in the package libgomp1" if LIBRARY in str(error) else ""
        print(f"llama-server of xllamacpp: {error}{hint}", file=sys.stderr)
        return 1
    try:
        server = xllamacpp.Server(parameters(xllamacpp.CommonParams(), given))
    except RuntimeError as error:
        print(f"llama-server of xllamacpp: {given.model}: {error}", file=sys.stderr)
        return 1
    print(f"llama-server of xllamacpp: listening on {server.listening_address}", flush=True)
    # Not wait() without an end: a signal's handler runs in this thread.
    while not stop.wait(0.2):
        pass
    # Its destructor waits for the requests under way; whoever ended us has waited for them already.
    sys.stdout.flush()
    os._exit(0)


def parameters(made: Any, given: Any) -> Any:
    """The flags as llama.cpp's own parameters (common/common.h)."""
    made.model.path = str(given.model)
    made.hostnames, made.port = [given.host], given.port
    made.n_parallel, made.kv_unified = given.parallel, given.kv_unified
    made.n_ctx, made.endpoint_metrics = given.ctx_size, given.metrics
    made.ui = False
    if given.alias is not None:
        made.model_alias = {given.alias}
    if keys := [key for key in os.environ.get(KEY_VARIABLE, "").split(",") if key]:
        made.api_keys = keys
    if given.n_predict is not None:
        made.n_predict = given.n_predict
    if given.threads is not None:
        made.cpuparams.n_threads = given.threads
    for name in ("temp", "top_k", "top_p", "min_p"):
        if (value := getattr(given, name)) is not None:
            setattr(made.sampling, name, value)
    return made


if __name__ == "__main__":
    run("api", main)
