"""Errors in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 500: "internal_error"}
FAILED = "The server failed. Its log says why."


class ApiError(Exception):
    """What a client reads in place of an answer. The message names no path of the server.

    Args:
        status: of HTTP.
        message: what was expected, what came, what to do.
        code: a short name, for programs.
        param: the field of the request that is wrong.
        retry_after: seconds after which the same request may succeed.
    """

    def __init__(
        self, status: int, message: str, code: str, *, param: str | None = None, retry_after: int | None = None
    ):
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.retry_after = status, message, code, param, retry_after

    def content(self) -> dict:
        """The body of the answer."""
        kind = "rate_limit_error" if self.status == 429 else "invalid_request_error"
        kind = "server_error" if self.status >= 500 else kind
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The answer."""
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return JSONResponse(self.content(), self.status, headers)


async def answer_error(request: Request, error: Exception) -> JSONResponse:
    """The answer to an error that any part of the app raised: a handler of Starlette."""
    if isinstance(error, ApiError):
        return error.response()
    if isinstance(error, HTTPException):
        message = f"{request.method} {request.url.path[:200]}: {error.detail}."
        response = ApiError(error.status_code, message, _CODES.get(error.status_code, "invalid_request")).response()
        response.headers.update(error.headers or {})
        return response
    return ApiError(500, FAILED, "internal_error").response()
