"""The OpenAI-compatible routes over one engine, as a Starlette application."""

from __future__ import annotations

import contextlib
import hmac
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from speechless.api.answers import ChatAnswer, CompletionAnswer
from speechless.api.errors import RequestError, invalid
from speechless.api.metrics import Metrics
from speechless.api.schema import ChatRequest, CompletionRequest, Defaults, GenerationRequest, sampling
from speechless.api.worker import Engine, Worker
from speechless.errors import StageError
from speechless.generate import Completion, Sampling

OPENAI_COMPLETION_TOKENS = 16
"""max_tokens of a completion that does not say (OpenAI's API reference)."""
CHAT_TOKENS = 1024
"""max_tokens of a chat that does not say, where the model's context is not known."""

Answer = CompletionAnswer | ChatAnswer
Jobs = list[tuple[list[int], Sampling]]
Body = TypeVar("Body", bound=GenerationRequest)


class Service:
    """What the routes share."""

    def __init__(
        self,
        engine: Engine,
        model_name: str,
        *,
        keys: Sequence[str] = (),
        defaults: Defaults | None = None,
        parallel: int = 1,
    ) -> None:
        """`keys`: bearer tokens that may ask; none: everybody may."""
        self.engine = engine
        self.model_name = model_name
        self.keys = [key.encode() for key in keys]
        self.defaults = defaults or Defaults()
        self.metrics = Metrics()
        self.worker = Worker(engine, self.metrics, parallel=parallel)
        self.draining = False
        self.started = int(time.time())
        self._seeds = itertools.count(self.started)

    # -------------------------------------------------------------------------------------------------- small routes

    async def health(self, _request: Request) -> Response:
        """The process is alive and its model loaded."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """New requests are welcome."""
        return JSONResponse({"status": "draining"}, 503) if self.draining else JSONResponse({"status": "ok"})

    async def prometheus(self, _request: Request) -> Response:
        """The numbers."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self, request: Request) -> Response:
        """The one model."""
        self._check_key(request)
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        """The one model, by name."""
        self._check_key(request)
        self._check_model(request.path_params["name"])
        return JSONResponse(self._model())

    # ---------------------------------------------------------------------------------------------------- completions

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions."""
        self._check_key(request)
        body = await _parse(request, CompletionRequest)
        self._check_model(body.model)
        prompts = [
            self.engine.encode(prompt) if isinstance(prompt, str) else prompt for prompt in body.prompts()
        ]
        if not prompts or not all(prompts):
            raise RequestError(400, "prompt: is empty", param="prompt")
        size = self.engine.vocabulary_size
        if any(not 0 <= token < size for prompt in prompts for token in prompt):
            # On a GPU such a token would end the process, not the request.
            raise RequestError(400, f"prompt: a token id is not from 0 to {size - 1}", param="prompt")
        jobs = [
            (prompt, self._sampling(body, prompt, fallback=OPENAI_COMPLETION_TOKENS)) for prompt in prompts
        ]
        return await self._answer(request, body, jobs, CompletionAnswer(self.model_name))

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        self._check_key(request)
        body = await _parse(request, ChatRequest)
        self._check_model(body.model)
        try:
            prompt = self.engine.encode_chat([message.plain() for message in body.messages])
        except StageError as problem:
            raise RequestError(400, problem.message, param="messages") from problem
        limit = self.engine.context_length
        fallback = limit - len(prompt) if limit else CHAT_TOKENS
        jobs = [(prompt, self._sampling(body, prompt, fallback=fallback))]
        return await self._answer(request, body, jobs, ChatAnswer(self.model_name))

    async def _answer(self, request: Request, body: GenerationRequest, jobs: Jobs, shape: Answer) -> Response:
        if body.stream:
            usage = body.stream_options is not None and body.stream_options.include_usage
            events = self._events(jobs, shape, with_usage=usage)
            return StreamingResponse(
                events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
            )
        if body.stream_options is not None:
            raise RequestError(400, "stream_options: only with stream: true", param="stream_options")
        done = []
        for prompt, how in jobs:
            async with contextlib.aclosing(
                self.worker.generate(prompt, how, arrived=time.monotonic())
            ) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Completion):
                        done.append(piece)
                    elif await request.is_disconnected():
                        return Response(status_code=499)
        return JSONResponse(shape.whole(done))

    async def _events(self, jobs: Jobs, shape: Answer, *, with_usage: bool) -> AsyncIterator[str]:
        """Server-sent events: a first one, text, the reason for the end, perhaps usage, and [DONE]."""
        done = []
        for index, (prompt, how) in enumerate(jobs):
            for event in shape.begin(index):
                yield _event(event, with_usage)
            async with contextlib.aclosing(
                self.worker.generate(prompt, how, arrived=time.monotonic())
            ) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Completion):
                        done.append(piece)
                        yield _event(shape.end(index, piece.finish_reason), with_usage)
                    else:
                        yield _event(shape.piece(index, piece), with_usage)
        if with_usage:
            yield _event(shape.usage(done), False)
        yield "data: [DONE]\n\n"

    # --------------------------------------------------------------------------------------------------------- checks

    def _sampling(self, body: GenerationRequest, prompt: list[int], *, fallback: int) -> Sampling:
        limit = self.engine.context_length
        room = limit - len(prompt) if limit else fallback if body.max_tokens is None else body.max_tokens
        if room < 1:
            raise RequestError(
                400,
                f"This model's maximum context length is {limit} tokens; the prompt has {len(prompt)}.",
                param="messages" if isinstance(body, ChatRequest) else "prompt",
                code="context_length_exceeded",
            )
        return sampling(body, self.defaults, room=room, fallback=fallback, seed=next(self._seeds))

    def _check_key(self, request: Request) -> None:
        if not self.keys:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and any(hmac.compare_digest(token.encode(), key) for key in self.keys):
            return
        raise RequestError(401, "Incorrect API key provided.", code="invalid_api_key")

    def _check_model(self, name: str) -> None:
        if name != self.model_name:
            raise RequestError(
                404,
                f"The model `{name}` does not exist; this server has `{self.model_name}`.",
                param="model",
                code="model_not_found",
            )

    def _model(self) -> dict[str, Any]:
        return {"id": self.model_name, "object": "model", "created": self.started, "owned_by": "speechless"}


def create_app(service: Service) -> Starlette:
    """The application."""
    routes = [
        Route("/health", service.health),
        Route("/ready", service.ready),
        Route("/metrics", service.prometheus),
        Route("/v1/models", service.models),
        Route("/v1/models/{name:path}", service.model),
        Route("/v1/completions", service.completions, methods=["POST"]),
        Route("/v1/chat/completions", service.chat, methods=["POST"]),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        service.worker.close()

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={
            RequestError: lambda _request, problem: problem.response(),
            404: lambda request, _problem: RequestError(
                404, f"No route {request.method} {request.url.path}"
            ).response(),
            405: lambda request, _problem: RequestError(
                405, f"{request.url.path}: not by {request.method}"
            ).response(),
            Exception: lambda _request, _problem: RequestError(
                500, "The server failed; its log says why."
            ).response(),
        },
    )
    app.add_middleware(CountRequests, metrics=service.metrics)
    return app


class CountRequests:
    """Counts and times every request of /v1, to its last byte (ASGI middleware)."""

    def __init__(self, app: Callable[..., Any], metrics: Metrics) -> None:
        """`app`: the application inside."""
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self.app(scope, receive, send)
            return
        # A path of the client's own choice would make as many series as it likes.
        route = scope["path"] if scope["path"].endswith("completions") else "/v1/models"
        status, arrived = 500, time.monotonic()

        async def watch(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.monotonic() - arrived)


async def _parse(request: Request, kind: type[Body]) -> Body:
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as problem:
        raise invalid(problem) from None


def _event(body: dict[str, Any], with_usage: bool) -> str:
    """One server-sent event. With `include_usage` every chunk but the last has a null usage, as OpenAI's have."""
    return f"data: {json.dumps({**body, 'usage': None} if with_usage else body)}\n\n"
