"""Correlation: the id of a request becomes the correlation id of all its effects."""

import re
from collections.abc import Callable
from uuid import UUID

from django.http import HttpRequest, HttpResponse

from sagas.core.cause import Cause, caused_by
from sagas.core.ids import new_id

#: W3C Trace Context: version, trace, span, flags.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class CorrelationMiddleware:
    """Takes `X-Correlation-ID` (a UUID) and `traceparent` from the request; gives the id back in the response."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        correlation_id = _uuid(request.headers.get("X-Correlation-ID", ""))
        cause = Cause(correlation_id=correlation_id, traceparent=_traceparent(request.headers.get("traceparent", "")))
        with caused_by(cause):
            response = self.get_response(request)
        response["X-Correlation-ID"] = str(correlation_id)
        return response


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        return new_id()


def _traceparent(text: str) -> str:
    return text if _TRACEPARENT.fullmatch(text) else ""
