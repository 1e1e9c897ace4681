"""Asking the served model, with the official client."""

from __future__ import annotations

import contextlib
import re
import select
import subprocess
from collections.abc import Iterator

from demo.tools import NAMESPACE, DemoError, Tools

PROMPT = 'def answer(xs):\n    """Return the sum of the odd numbers in xs, each halved."""\n'


@contextlib.contextmanager
def forwarded(tools: Tools, service: str) -> Iterator[str]:
    """A Service's URL on loopback, by `kubectl port-forward`: its cluster address is not reachable from here."""
    argv = ["kubectl", "-n", NAMESPACE, "port-forward", f"service/{service}", ":80", "--address", "127.0.0.1"]
    with subprocess.Popen(
        argv, env=tools.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as forward:
        assert forward.stdout
        assert forward.stderr
        try:
            # It chooses a port itself and says so once it listens: "Forwarding from 127.0.0.1:41234 -> 8080".
            said = forward.stdout.readline() if select.select([forward.stdout], [], [], 30)[0] else ""
            chosen = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) ", said)
            if chosen is None:
                forward.terminate()
                raise DemoError(
                    f"`{' '.join(argv)}` did not open a port: {said}{forward.stderr.read()}".rstrip()
                )
            yield f"http://127.0.0.1:{chosen[1]}/v1"
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
