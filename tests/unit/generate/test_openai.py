"""An endpoint, with a server of the standard library in its place."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.generate import Sampling
from speechless.generate.openai import KEY_VARIABLE, OpenAIEndpoint


class Endpoint:
    """Answers every request from a list of statuses, then with 200; remembers what was asked."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.asked: list[tuple[str, dict[str, Any], str | None]] = []


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Endpoint, str]]:
    state = Endpoint()
    monkeypatch.setattr("time.sleep", lambda _seconds: None)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append((self.path, body, self.headers.get("Authorization")))
            status = state.statuses.pop(0) if state.statuses else 200
            choice: dict[str, Any] = {"finish_reason": "length" if body["max_tokens"] == 1 else "stop"}
            if "messages" in body:
                choice["message"] = {"content": body["messages"][-1]["content"].upper()}
            else:
                choice["text"] = body["prompt"].upper()
            answer = {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
            raw = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_args: Any) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield state, f"http://127.0.0.1:{server.server_address[1]}/v1/"
        server.shutdown()
        thread.join()


def test_completions_come_in_order_with_usage(
    endpoint: tuple[Endpoint, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, url = endpoint
    monkeypatch.setenv(KEY_VARIABLE, "k")
    done = OpenAIEndpoint(url, "m").complete(["a", "b", "c"], Sampling(max_tokens=5, seed=7, stop=("x",)))
    assert [made.text for made in done] == ["A", "B", "C"]
    assert (done[0].prompt_tokens, done[0].completion_tokens, done[0].finish_reason) == (3, 4, "stop")
    by_prompt = {body["prompt"]: body for _, body, _ in state.asked}
    assert [by_prompt[prompt]["seed"] for prompt in "abc"] == [7, 8, 9]
    assert by_prompt["a"]["stop"] == ["x"]
    assert {(path, key) for path, _, key in state.asked} == {("/v1/completions", "Bearer k")}


def test_chat(endpoint: tuple[Endpoint, str], monkeypatch: pytest.MonkeyPatch) -> None:
    state, url = endpoint
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    [made] = OpenAIEndpoint(url, "m").chat([[{"role": "user", "content": "hi"}]], Sampling(max_tokens=1))
    assert (made.text, made.finish_reason) == ("HI", "length")
    assert state.asked[0][0] == "/v1/chat/completions"
    assert state.asked[0][2] is None


def test_what_may_pass_is_tried_again(endpoint: tuple[Endpoint, str]) -> None:
    state, url = endpoint
    state.statuses = [503, 429]
    [made] = OpenAIEndpoint(url, "m").complete(["a"], Sampling(max_tokens=5))
    assert (made.text, len(state.asked)) == ("A", 3)


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        ([401], FailureReason.INPUT_FORBIDDEN),
        ([404], FailureReason.INPUT_NOT_FOUND),
        ([503] * 5, FailureReason.STORE_UNAVAILABLE),
    ],
)
def test_what_does_not_is_an_error(
    endpoint: tuple[Endpoint, str], statuses: list[int], reason: FailureReason
) -> None:
    state, url = endpoint
    state.statuses = statuses
    with pytest.raises(StageError, match="/v1/completions") as failed:
        OpenAIEndpoint(url, "m").complete(["a"], Sampling(max_tokens=5))
    assert failed.value.reason is reason


def test_a_stop_is_heard(endpoint: tuple[Endpoint, str]) -> None:
    with pytest.raises(StageError) as stopped:
        OpenAIEndpoint(endpoint[1], "m").complete(["a"], Sampling(max_tokens=5), stopping=lambda: True)
    assert stopped.value.reason is FailureReason.INTERRUPTED
