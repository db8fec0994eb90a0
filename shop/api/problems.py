"""Errors of the API as problem documents (RFC 9457): those of our code, of django-ninja and of Django."""

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import structlog
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.parser import Parser

logger = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
#: Maximum number of errors in an answer: the first ones explain a body with a thousand wrong lines.
_MAX_ERRORS = 50
#: Prefix that pydantic adds to the messages of our own checks.
_PREFIX = "Value error, "

_DETAILS = {
    400: "The request cannot be read.",
    401: "Send the header `Authorization: Bearer <token>`.",
    404: "There is nothing at this address.",
    405: "This address does not take this method; the header `Allow` says which it takes.",
    413: "The body is too large.",
    500: "Something on our side did not work. Asking again with the same Idempotency-Key is safe.",
    503: "A server we depend on does not answer. Asking again with the same Idempotency-Key is safe.",
}


class Refused(Exception):  # noqa: N818 - a refusal, no bug
    """A request that is not served.

    Attributes:
        errors: field and message of each error, such as `("lines.0.sku", "There is no product 'X'.")`.
        more: extension members of the problem document.
    """

    def __init__(self, status: int, detail: str, errors: Iterable[tuple[str, str]] = (), **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.more = status, detail, tuple(errors), more


def problem(status: int, detail: str = "", errors: Iterable[tuple[str, str]] = (), **more: Any) -> HttpResponse:
    """Return a problem document; `more` are its extension members."""
    response = HttpResponse(_document(status, detail, errors, **more), status=status, content_type=MEDIA_TYPE)
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = 'Bearer realm="shop"'
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response["Retry-After"] = "5"
    return response


def _document(status: int, detail: str = "", errors: Iterable[tuple[str, str]] = (), **more: Any) -> bytes:
    document = {
        "type": "about:blank",  # RFC 9457, 4.2.1: the status has the whole meaning, `errors` has the details
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail or _DETAILS.get(status, HTTPStatus(status).description),
        "errors": [{"field": field, "message": message} for field, message in errors],
    }
    return json.dumps(document | more).encode()


class StrictJson(Parser):
    """Reads a JSON body; refuses what two readers could understand differently."""

    def parse_body(self, request: HttpRequest) -> Any:
        if request.content_type != "application/json":
            raise Refused(415, "The body has to be JSON, with the header `Content-Type: application/json`.")
        try:
            return json.loads(request.body.decode(), object_pairs_hook=_unambiguous, parse_constant=_not_json)
        except RecursionError:
            raise Refused(400, "The body is nested too deeply.") from None
        except ValueError as error:
            raise Refused(400, f"The body is not JSON: {error}.", [("body", f"{error}")]) from None


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, value in pairs:
        if name in read:
            raise Refused(400, "A name stands twice in the body.", [(_printable(name), "This stands twice.")])
        read[name] = value
    return read


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def handle_errors(api: NinjaAPI) -> None:
    """Answer every exception under `api` with a problem document."""

    def handle(*exceptions: type[Exception]) -> Callable[[Callable[[Any], HttpResponse]], None]:
        def register(answer: Callable[[Any], HttpResponse]) -> None:
            for exception in exceptions:
                api.add_exception_handler(exception, lambda _, raised: answer(raised))

        return register

    handle(Refused)(_refused)
    handle(ValidationError)(_invalid)
    handle(HttpError)(_http_error)
    handle(AuthenticationError)(lambda _: problem(401))
    handle(Http404)(lambda _: problem(404))
    handle(RequestDataTooBig)(lambda _: problem(413))
    handle(UnreadablePostError)(lambda _: problem(400))
    handle(OperationalError, InterfaceError)(_unavailable)
    handle(Exception)(_failed)


def _refused(refused: Refused) -> HttpResponse:
    return problem(refused.status, refused.detail, refused.errors, **refused.more)


def _invalid(error: ValidationError) -> HttpResponse:
    if any(wrong["loc"][0] == "path" for wrong in error.errors):
        return problem(404)
    errors = [(_field(wrong["loc"]), wrong["msg"].removeprefix(_PREFIX)) for wrong in error.errors[:_MAX_ERRORS]]
    return problem(422, "The request has mistakes; `errors` names the fields.", errors)


def _field(place: tuple[str | int, ...]) -> str:
    """Return `lines.0.sku` for the place of an error, without its source and the parameter's name."""
    source, *rest = place
    names = rest[1:] if source == "body" else rest
    return ".".join(_printable(str(name)) for name in names) or "body"


def _printable(name: str) -> str:
    """Return a field's name that is safe to repeat: a sender can call a field anything."""
    return name.encode("unicode_escape").decode()[:100]


def _http_error(error: HttpError) -> HttpResponse:
    # django-ninja wraps every exception of a parser.
    if isinstance(error.__cause__, Refused):
        return _refused(error.__cause__)
    return problem(error.status_code, error.message)


def _unavailable(error: Exception) -> HttpResponse:
    logger.error("api_without_database", error=str(error).strip())
    return problem(503)


def _failed(error: Exception) -> HttpResponse:
    logger.error("api_failed", exc_info=error)
    return problem(500)


class ApiMiddleware:
    """Separates the API from the pages: it uses no session and returns no error page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith("/api/"):
            return self.get_response(request)
        request.COOKIES = {}
        response = self.get_response(request)
        if response.status_code >= 400 and response.get("Content-Type") != MEDIA_TYPE:
            response.content = _document(response.status_code)
            response["Content-Type"] = MEDIA_TYPE
            response["Content-Length"] = str(len(response.content))
        return response
