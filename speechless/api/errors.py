"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`."""

from pydantic import ValidationError
from starlette.responses import JSONResponse


class RequestError(Exception):
    """A request that is not answered."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        """`status` is HTTP's; `param` names the field at fault; `code` is OpenAI's word for it."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    def body(self) -> dict[str, dict[str, str | None]]:
        """The JSON."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The answer."""
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else None
        return JSONResponse(self.body(), self.status, headers)


def invalid(problem: ValidationError) -> RequestError:
    """The first fault of a request's body; an unknown field in OpenAI's words."""
    first = problem.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return RequestError(400, f"Unrecognized request argument supplied: {path}", param=path)
    if first["type"] == "json_invalid":
        return RequestError(400, f"The body is not JSON: {first['msg']}")
    return RequestError(400, f"{path}: {first['msg']}", param=path or None)
