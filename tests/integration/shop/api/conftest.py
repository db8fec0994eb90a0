"""Requests to the HTTP API, and what a refusal looks like."""

import json
from typing import Any

from django.test import Client

from orders.models import Order, OrderLine
from sagas.models import Event

PROBLEM = "application/problem+json"
TOKEN = "Bearer test-token"


def body(**changes: Any) -> dict[str, Any]:
    return {
        "customer": {"email": "ada@example.com", "name": "Ada Lovelace"},
        "lines": [{"sku": "MUG", "quantity": 2}],
        "payment_method": "tok_visa",
    } | changes


def post(sent: Any, *, key: str | None = None, token: str = TOKEN, content_type: str = "application/json") -> Any:
    headers = {"Authorization": token} | ({} if key is None else {"Idempotency-Key": key})
    raw = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    return Client().post("/api/orders", raw, content_type=content_type, headers=headers)


def get(path: str, *, token: str = TOKEN) -> Any:
    return Client().get(path, headers={"Authorization": token})


def assert_refused(response: Any, status: int, *fields: str) -> None:
    """See a problem document that names these fields, and that nothing was written."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == PROBLEM
    document = response.json()
    assert document["status"] == status
    assert {"type", "title", "detail"} <= document.keys()
    assert [error["field"] for error in document["errors"]] == list(fields)
    assert all(error["message"] for error in document["errors"])
    assert_nothing_written()


def assert_nothing_written() -> None:
    assert (Order.objects.count(), OrderLine.objects.count(), Event.objects.count()) == (0, 0, 0)
