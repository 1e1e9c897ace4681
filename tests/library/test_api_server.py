"""The server as its users meet it: started from a shell, asked by the official `openai` client."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from speechless.generate import Completion, Message, Sampling, open_generator
from speechless.generate.http import NoAnswerError, ask
from tests.library.needs import GREEDY_PROMPTS, needs_llama_server, needs_wheel
from tests.support.ports import free_port

openai = pytest.importorskip("openai", reason="the official client is not installed")

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(600)

KEY = "k-123"
CONVERSATION: list[Message] = [{"role": "user", "content": "sum x"}]


@dataclass
class Server:
    """A server that runs."""

    kind: str
    url: str
    process: "subprocess.Popen[bytes]"
    client: "openai.OpenAI"


@pytest.fixture(scope="module")
def start(
    model: Path, f16: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Server]]:
    """Start a server and wait until it answers; all are ended at the end."""
    running: list[subprocess.Popen[bytes]] = []
    folder = tmp_path_factory.mktemp("api")

    def go(kind: str, folder_of_model: Path = model) -> Server:
        environment = {**os.environ, "SPEECHLESS_API_KEY": KEY, "PYTHONPATH": os.pathsep.join(sys.path)}
        if kind == "llama-server":
            needs_llama_server()
        if kind == "wheel":
            needs_wheel()
            environment |= {"SPEECHLESS_LLAMA_BIN": "", "PATH": str(folder)}
        port = free_port()
        argv = [sys.executable, "-m", "speechless.api.server", "start", "--model_name", "tiny"]
        argv += ["--model", str(folder_of_model if kind == "transformers" else f16)]
        argv += ["--backbone", "transformers" if kind == "transformers" else "llamacpp"]
        argv += ["--host", "127.0.0.1", "--port", str(port), "--parallel", "2"]
        argv += ["--drain_seconds", "600"]  # on a busy machine an answer takes longer than the default waits
        with (folder / f"{kind}-{len(running)}.log").open("wb") as log:
            process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
        running.append(process)
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            assert process.poll() is None, Path(log.name).read_text()
            try:
                if ask(f"{url}/health", timeout=5, direct=True)[0] == 200:
                    return Server(
                        kind, url, process, openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
                    )
            except NoAnswerError:
                time.sleep(0.2)
        raise TimeoutError(Path(log.name).read_text())

    yield go
    for process in running:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module", params=["transformers", "llama-server", "wheel"])
def server(request: pytest.FixtureRequest, start: Callable[[str], Server]) -> Server:
    """Each of the three."""
    return start(request.param)


@pytest.fixture(scope="module")
def expected(model: Path) -> tuple[list[Completion], Completion]:
    """What the model answers, by Transformers in this process."""
    with open_generator(model) as generator:
        how = Sampling(max_tokens=12)
        return generator.complete(GREEDY_PROMPTS, how), generator.chat([CONVERSATION], how)[0]


def shown(text: str) -> str:
    """A text without half characters at its end: llama-server does not send them in a stream."""
    return text.rstrip("\N{REPLACEMENT CHARACTER}")


def test_completions_whole_and_streamed(
    server: Server, expected: tuple[list[Completion], Completion]
) -> None:
    for prompt, made in zip(GREEDY_PROMPTS, expected[0], strict=True):
        whole = server.client.completions.create(model="tiny", prompt=prompt, temperature=0, max_tokens=12)
        assert (whole.choices[0].text, whole.choices[0].finish_reason) == (made.text, made.finish_reason)
        stream = list(
            server.client.completions.create(
                model="tiny",
                prompt=prompt,
                temperature=0,
                max_tokens=12,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        choices = [chunk.choices[0] for chunk in stream if chunk.choices]
        assert shown("".join(choice.text for choice in choices)) == shown(made.text)
        assert [choice.finish_reason for choice in choices if choice.finish_reason] == [made.finish_reason]
        for usage in (whole.usage, stream[-1].usage):
            assert usage is not None
            assert (usage.prompt_tokens, usage.completion_tokens) == (
                made.prompt_tokens,
                made.completion_tokens,
            )
            assert usage.total_tokens == made.prompt_tokens + made.completion_tokens


def test_chat_whole_and_streamed(server: Server, expected: tuple[list[Completion], Completion]) -> None:
    messages = [{"role": "user", "content": "sum x"}]
    whole = server.client.chat.completions.create(
        model="tiny", messages=messages, temperature=0, max_tokens=12
    )
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (
        expected[1].text,
        expected[1].finish_reason,
    )
    stream = list(
        server.client.chat.completions.create(
            model="tiny",
            messages=messages,
            temperature=0,
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    deltas = [chunk.choices[0].delta for chunk in stream if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == expected[1].text
    assert stream[-1].usage is not None
    assert whole.usage is not None
    assert stream[-1].usage.completion_tokens == expected[1].completion_tokens
    assert whole.usage.completion_tokens == expected[1].completion_tokens


def test_stop_seed_and_models(server: Server, expected: tuple[list[Completion], Completion]) -> None:
    text = expected[0][0].text
    stop = text[4:6]
    made = server.client.completions.create(
        model="tiny", prompt=GREEDY_PROMPTS[0], temperature=0, max_tokens=12, stop=stop
    )
    assert made.choices[0].text == text[: text.index(stop)]
    assert made.choices[0].finish_reason == "stop"
    texts = [
        server.client.completions.create(
            model="tiny", prompt="def", temperature=1.5, seed=seed, max_tokens=12
        )
        .choices[0]
        .text
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]
    assert [entry.id for entry in server.client.models.list()] == ["tiny"]


def test_errors_have_openais_shape(server: Server) -> None:
    wrong = server.client.with_options(api_key="wrong")
    with pytest.raises(openai.AuthenticationError):
        wrong.completions.create(model="tiny", prompt="x")
    with pytest.raises(openai.BadRequestError):
        server.client.completions.create(model="tiny", prompt="x y " * 400)
    if server.kind != "transformers":
        return  # llama-server takes unknown fields and any model's name
    with pytest.raises(
        openai.BadRequestError, match="Unrecognized request argument supplied: foo"
    ) as refused:
        server.client.completions.create(model="tiny", prompt="x", extra_body={"foo": 1})
    assert refused.value.param == "foo"
    with pytest.raises(openai.BadRequestError, match="a token id is not from 0 to"):
        server.client.completions.create(model="tiny", prompt=[1, 1_000_000])
    with pytest.raises(openai.NotFoundError) as missing:
        server.client.completions.create(model="other", prompt="x")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="maximum context length is 256") as full:
        server.client.completions.create(model="tiny", prompt="x y " * 400)
    assert full.value.code == "context_length_exceeded"
    status, text = ask(f"{server.url}/nowhere", timeout=10, direct=True)
    assert (status, set(json.loads(text)["error"])) == (404, {"message", "type", "param", "code"})


def test_a_stream_ends_in_done(server: Server) -> None:
    body = {"model": "tiny", "prompt": "def", "max_tokens": 3, "temperature": 0, "stream": True}
    request = urllib.request.Request(
        f"{server.url}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.read().decode().strip().endswith("data: [DONE]")


def test_metrics_count_tokens(server: Server) -> None:
    server.client.completions.create(model="tiny", prompt="def", max_tokens=3)
    status, text = ask(
        f"{server.url}/metrics", headers={"Authorization": f"Bearer {KEY}"}, timeout=10, direct=True
    )
    name = (
        "speechless_generation_tokens_total"
        if server.kind == "transformers"
        else "llamacpp:tokens_predicted_total"
    )
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert status == 200
    assert float(values[name]) >= 3


def test_what_a_chat_template_refuses_is_the_clients_mistake_in_its_words(
    model: Path, tmp_path: Path, start: Callable[..., Server]
) -> None:
    shutil.copytree(model, tmp_path / "own")
    (tmp_path / "own" / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")
    server = start("transformers", tmp_path / "own")
    with pytest.raises(openai.BadRequestError, match="roles must alternate") as refused:
        server.client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "a"}])
    assert refused.value.param == "messages"


@pytest.mark.parametrize("kind", ["transformers", "llama-server", "wheel"])
def test_sigterm_lets_a_stream_finish(kind: str, start: Callable[[str], Server]) -> None:
    server = start(kind)
    stream = server.client.completions.create(
        model="tiny",
        prompt="def",
        temperature=0,
        max_tokens=200,
        stream=True,
        stream_options={"include_usage": True},
    )
    first = next(stream)
    server.process.send_signal(signal.SIGTERM)
    rest = list(stream)
    chunks = [first, *rest]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in {"length", "stop"}
    assert chunks[-1].usage is not None
    assert server.process.wait(60) == 0
