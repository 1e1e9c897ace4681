"""Asking the served model, with the official client."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator

from demo.tools import NAMESPACE, DemoError, Tools

PROMPT = 'def answer(xs):\n    """Return the sum of the odd numbers in xs, each halved."""\n'


@contextlib.contextmanager
def forwarded(tools: Tools, service: str) -> Iterator[str]:
    """A Service's URL on loopback, by `kubectl port-forward`: its cluster address is not reachable from here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [
        "kubectl",
        "-n",
        NAMESPACE,
        "port-forward",
        f"service/{service}",
        f"{port}:80",
        "--address",
        "127.0.0.1",
    ]
    with subprocess.Popen(
        argv, env=tools.env(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as forward:
        try:
            deadline = time.monotonic() + 30
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                if forward.poll() is not None or time.monotonic() > deadline:
                    words = forward.stderr.read() if forward.stderr and forward.poll() is not None else ""
                    raise DemoError(f"`{' '.join(argv)}` did not open its port: {words}")
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            forward.terminate()


def ask(tools: Tools, service: str, prompt: str, model: str) -> str:
    """The model's completion of a prompt."""
    from openai import DefaultHttpxClient, OpenAI

    # A proxy of this machine's environment does not know the loopback address.
    direct = DefaultHttpxClient(trust_env=False)
    with forwarded(tools, service) as url:
        client = OpenAI(base_url=url, api_key="not-needed", timeout=60, max_retries=2, http_client=direct)
        served = [m.id for m in client.models.list().data]
        if model not in served:
            raise DemoError(f"{service} serves {served}, not {model!r}")
        answer = client.completions.create(
            model=model, prompt=prompt, max_tokens=64, temperature=0, stop=["\ndef "]
        )
        return answer.choices[0].text
