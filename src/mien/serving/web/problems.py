"""Errors as problem details (RFC 9457): ``application/problem+json`` with type, title, status and detail."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from mien.errors import MienError, OutputError, escape_control


class ProblemDetails(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


def _described(text: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {"description": text, "content": {"application/problem+json": {"schema": schema}}}


RESPONSES: dict[int | str, dict[str, Any]] = {
    422: _described("The request is not valid; the detail says where"),
    "4XX": _described("The request is refused; the detail says why"),
    "5XX": _described("The server cannot answer now; the detail says why"),
}
"""Errors of every route, for the description of the interface."""


class Problem(Exception):
    """An error with its status; ``detail`` is one line for the client."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def problem_response(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response of an error."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(body, status, dict(headers or {}), "application/problem+json")


NO_DATABASE = 503, "the database is busy or not available; try again", {"Retry-After": "5"}
"""Status, reason and headers of the answer when the database fails."""


def add_handlers(app: FastAPI) -> None:
    """Turn every error of an application into problem details."""

    @app.exception_handler(Problem)
    def _(_request: Request, error: Problem) -> JSONResponse:
        return problem_response(error.status, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    def _(_request: Request, error: HTTPException) -> JSONResponse:
        return problem_response(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    def _(_request: Request, error: RequestValidationError) -> JSONResponse:
        return problem_response(422, _first(error.errors()))

    @app.exception_handler(DBAPIError)
    def _(_request: Request, _error: DBAPIError) -> JSONResponse:
        return problem_response(*NO_DATABASE)

    @app.exception_handler(OutputError)
    def _(_request: Request, _error: OutputError) -> JSONResponse:
        return problem_response(507, "the server's disk is full or cannot be written")

    @app.exception_handler(MienError)
    def _(_request: Request, error: MienError) -> JSONResponse:
        return problem_response(500, type(error).__name__)


def _first(errors: Any) -> str:
    one = errors[0]
    where = ".".join(str(part) for part in one["loc"] if part != "body")
    return escape_control(f"{where or 'body'}: {one['msg']}"[:500])
