from uuid import UUID

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from structlog.contextvars import get_contextvars

from sagas.core.cause import Cause, cause_of
from sagas.core.events import DomainEvent
from shop.platform.middleware import CorrelationMiddleware

ID = UUID("01890000-0000-7000-8000-000000000001")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class View:
    """Notes what it was called under."""

    def __init__(self) -> None:
        self.cause = Cause()
        self.logged: object = None

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.cause, self.logged = cause_of(DomainEvent()), get_contextvars().get("correlation_id")
        return HttpResponse("ok", status=418)


def ask(**headers: str) -> tuple[View, HttpResponse]:
    view = View()
    return view, CorrelationMiddleware(view)(RequestFactory().get("/", headers=headers))


def test_the_id_of_a_request_is_that_of_all_it_leads_to_and_of_its_response() -> None:
    view, response = ask(**{"X-Correlation-ID": str(ID), "traceparent": TRACEPARENT})
    assert view.cause == Cause(correlation_id=ID, traceparent=TRACEPARENT)
    assert view.logged == response["X-Correlation-ID"] == str(ID)
    assert (response.status_code, response.content) == (418, b"ok")


@pytest.mark.parametrize(
    "text", ["", "42", "not-a-uuid", f"{ID}-and-more", "\r\nSet-Cookie: a=b", "é" * 32, "x" * 9000]
)
def test_a_header_that_is_no_id_gets_a_new_one(text: str) -> None:
    view, response = ask(**{"X-Correlation-ID": text})
    assert view.cause.correlation_id not in (None, ID)
    assert response["X-Correlation-ID"] == str(view.cause.correlation_id) != text


def test_every_request_without_an_id_gets_its_own() -> None:
    (first, _), (second, _) = ask(), ask()
    assert first.cause.correlation_id != second.cause.correlation_id
    assert first.cause.traceparent == ""


def test_an_id_is_given_back_as_ids_are_written() -> None:
    _, response = ask(**{"X-Correlation-ID": f"urn:uuid:{str(ID).upper()}"})
    assert response["X-Correlation-ID"] == str(ID)


def test_a_trace_that_is_none_is_left_out() -> None:
    view, _ = ask(traceparent=TRACEPARENT + "x" * 1000)
    assert view.cause.traceparent == ""


def test_the_next_request_does_not_inherit_the_cause() -> None:
    ask(**{"X-Correlation-ID": str(ID)})
    assert cause_of(DomainEvent()) == Cause()
    assert "correlation_id" not in get_contextvars()


def test_a_view_that_fails_leaves_no_cause_behind() -> None:
    def fail(request: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        CorrelationMiddleware(fail)(RequestFactory().get("/", headers={"X-Correlation-ID": str(ID)}))
    assert cause_of(DomainEvent()) == Cause()
