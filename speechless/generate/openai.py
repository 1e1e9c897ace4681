"""Any OpenAI-compatible endpoint: a base URL, a model's name, and the key from the environment."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Self

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.generate.base import Completion, FinishReason, Message, Sampling, ignore_progress, never
from speechless.generate.http import NoAnswerError, ask

log = logging.getLogger(__name__)

KEY_VARIABLE = "OPENAI_API_KEY"
URL_VARIABLE = "OPENAI_BASE_URL"
MODEL_VARIABLE = "OPENAI_MODEL_NAME"
ATTEMPTS = 5
WORTH_ANOTHER = frozenset({408, 409, 429, 500, 502, 503, 504})
FORBIDDEN = frozenset({401, 403})


class OpenAIEndpoint:
    """A model behind `<base_url>/completions` and `<base_url>/chat/completions`."""

    name = "openai"

    def __init__(self, base_url: str, model: str, *, parallel: int = 4, timeout: float = 600) -> None:
        """`base_url` ends in /v1 as a rule; `timeout` in seconds a request; `parallel` requests at a time."""
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.parallel = parallel
        self.timeout = timeout

    @property
    def versions(self) -> dict[str, str]:
        """Nothing: an endpoint does not say what it runs."""
        return {}

    def __enter__(self) -> Self:
        """Nothing to load."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to free."""

    def complete(
        self,
        prompts: Sequence[str],
        sampling: Sampling,
        *,
        progress: Callable[[int], None] = ignore_progress,
        stopping: Callable[[], bool] = never,
    ) -> list[Completion]:
        """See `Generator.complete`."""
        bodies = [{"prompt": prompt} for prompt in prompts]
        return self._all("/completions", bodies, sampling, lambda choice: choice["text"], progress, stopping)

    def chat(
        self,
        conversations: Sequence[Sequence[Message]],
        sampling: Sampling,
        *,
        progress: Callable[[int], None] = ignore_progress,
        stopping: Callable[[], bool] = never,
    ) -> list[Completion]:
        """See `Generator.chat`."""
        bodies = [{"messages": list(messages)} for messages in conversations]
        return self._all(
            "/chat/completions",
            bodies,
            sampling,
            lambda choice: choice["message"]["content"] or "",
            progress,
            stopping,
        )

    def _all(
        self,
        route: str,
        bodies: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        text: Callable[[Any], str],
        progress: Callable[[int], None],
        stopping: Callable[[], bool],
    ) -> list[Completion]:
        def one(index: int) -> Completion:
            settings = {
                "model": self.model,
                "max_tokens": sampling.max_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "seed": sampling.seed + index,
            }
            stop = {"stop": list(sampling.stop)} if sampling.stop else {}
            answer = self._post(route, {**settings, **stop, **bodies[index]}, stopping)
            choice, usage = answer["choices"][0], answer.get("usage") or {}
            ended: FinishReason = "length" if choice.get("finish_reason") == "length" else "stop"
            return Completion(
                text(choice), usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0), ended
            )

        with ThreadPoolExecutor(self.parallel, thread_name_prefix="openai") as executor:
            futures = [executor.submit(one, index) for index in range(len(bodies))]
            waiting = set(futures)
            try:
                while waiting:
                    done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
                    if stopping():
                        raise _interrupted()
                    progress(len(futures) - len(waiting))
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)
                raise
        return [future.result() for future in futures]

    def _post(self, route: str, body: Mapping[str, Any], stopping: Callable[[], bool]) -> Any:
        """The answer's JSON. What may pass is tried again, with pauses of 1, 2, 4 and 8 s."""
        url = self.base_url + route
        key = os.environ.get(KEY_VARIABLE)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        problem = ""
        for attempt in range(ATTEMPTS):
            if stopping():
                raise _interrupted()
            if attempt:
                log.warning("%s: %s; trying again", url, problem)
                time.sleep(2.0 ** (attempt - 1))
            try:
                status, text = ask(url, body, headers=headers, timeout=self.timeout)
            except NoAnswerError as broken:
                problem = str(broken)
                continue
            if status == 200:
                return json.loads(text)
            problem = f"status {status}: {text[:500]}"
            if status not in WORTH_ANOTHER:
                reason = (
                    FailureReason.INPUT_FORBIDDEN if status in FORBIDDEN else FailureReason.INPUT_NOT_FOUND
                )
                hint = (
                    f"Is {KEY_VARIABLE} right?"
                    if status in FORBIDDEN
                    else "Are base URL and model's name right?"
                )
                raise StageError(reason, f"{url}: {problem}", hint)
        raise StageError(
            FailureReason.STORE_UNAVAILABLE,
            f"{url}: no answer after {ATTEMPTS} tries: {problem}",
            "Is it up?",
        )


def _interrupted() -> StageError:
    return StageError(FailureReason.INTERRUPTED, "interrupted while waiting for the endpoint")
