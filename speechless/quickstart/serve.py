"""Serve the quantized file, ask it something with the official client, and end it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from speechless.quickstart.run import StepError, end, tail
from speechless.quickstart.screen import Screen

HOST = "127.0.0.1"
START_SECONDS = 300
NAME = "coder"
TINY_PROMPT = 'def answer(xs):\n    """Return the sum of the odd numbers in xs, each halved."""\n'
PROMPT = 'def is_even(n):\n    """Return whether n is even."""\n'


def free_port(wanted: int) -> int:
    """The wanted port, or the next one that nobody listens on."""
    for port in range(wanted, min(wanted + 100, 65_536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise StepError(f"ports {wanted} to {min(wanted + 99, 65_535)} are all in use; give another --port")


def words(model: Path, port: int) -> list[str]:
    """The command that serves, after `python -m`."""
    return [
        *("speechless.api.server", "start", "--model", str(model), "--model_name", NAME),
        *("--host", HOST, "--port", str(port)),
    ]


@contextlib.contextmanager
def served(folder: Path, model: Path, port: int, screen: Screen) -> Iterator[str]:
    """The server's URL, for as long as the context lasts."""
    log = folder / "logs" / "server.log"
    url = f"http://{HOST}:{port}/v1"
    with screen.working() as tell, log.open("wb") as output:
        argv = [sys.executable, "-m", *words(model, port)]
        child = subprocess.Popen(
            argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _listens(port):
                if child.poll() is not None:
                    raise StepError(
                        f"the server ended with exit status {child.returncode}: {tail(log)[-1:]}; see {log}"
                    )
                if time.monotonic() > deadline:
                    raise StepError(f"the server was not ready in {START_SECONDS} s; see {log}")
                tell("loading the model")
                time.sleep(0.2)
            yield url
        finally:
            end(child)


def _listens(port: int) -> bool:
    import urllib.error
    import urllib.request

    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{HOST}:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def ask(url: str, prompt: str, max_tokens: int) -> str:
    """The model's completion, by the `openai` client."""
    import openai

    # A proxy of this machine's environment does not know the loopback address.
    direct = openai.DefaultHttpxClient(trust_env=False)
    client = openai.OpenAI(base_url=url, api_key="none", timeout=300, http_client=direct)
    try:
        answer = client.completions.create(
            model=NAME, prompt=prompt, max_tokens=max_tokens, temperature=0, stop=["\ndef ", "\nclass "]
        )
    except openai.OpenAIError as error:
        raise StepError(f"the server at {url} did not answer: {error}") from error
    return answer.choices[0].text
