"""One id from the request to the last thing it led to."""

from pathlib import Path
from uuid import UUID

import pytest
from django.test import Client
from pytest_django import Settings

from sagas.models import Event, Run
from sagas.testing import drive

ID = "01890000-0000-7000-8000-000000000001"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ORDER = {
    "customer": {"email": "ada@example.com", "name": "Ada"},
    "lines": [{"sku": "MUG", "quantity": 1}],
    "payment_method": "tok_visa",
}


@pytest.fixture(autouse=True)
def static_files(settings: Settings, tmp_path: Path) -> None:
    """The middleware of static files warns of a folder that is missing."""
    settings.STATIC_ROOT = tmp_path


def post(client: Client, **headers: str) -> str:
    headers = {"Authorization": "Bearer test-token"} | headers
    response = client.post("/api/orders", ORDER, content_type="application/json", headers=headers)
    assert response.status_code == 201, response.content
    return response["X-Correlation-ID"]


def test_the_id_of_a_request_stands_in_every_event_of_its_order(shelves: None, client: Client) -> None:
    assert post(client, **{"X-Correlation-ID": ID, "traceparent": TRACEPARENT}) == ID
    drive()
    run = Run.objects.get()
    assert (run.status, str(run.correlation_id), run.traceparent) == ("completed", ID, TRACEPARENT)
    events = Event.objects.order_by("position")
    assert [event.type for event in events] == [
        "orders.order_placed",
        "inventory.stock_reserved",
        "payments.payment_captured",
        "inventory.shipment_booked",
        "orders.order_confirmed",
        "notifications.notification_queued",
        "notifications.notification_sent",
    ]
    assert {(str(event.correlation_id), event.traceparent) for event in events} == {(ID, TRACEPARENT)}
    first, *others = events
    assert first.causation_id is None
    assert {event.causation_id for event in others} == {first.id, others[-2].id}


@pytest.mark.parametrize("malformed", ["", "42", f"{ID}x", "x" * 5000])
def test_a_malformed_id_is_replaced_by_a_new_one(shelves: None, client: Client, malformed: str) -> None:
    given = post(client, **{"X-Correlation-ID": malformed})
    assert Event.objects.get().correlation_id == UUID(given)


def test_a_refusal_has_an_id_too(shelves: None, client: Client) -> None:
    response = client.post("/api/orders", headers={"X-Correlation-ID": ID})
    assert response.status_code in (401, 422)
    assert response["X-Correlation-ID"] == ID
