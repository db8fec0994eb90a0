"""What the HTTP API shows, and to whom; whatever goes wrong is a problem document."""

import json
from contextlib import closing
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import OperationalError
from django.test import Client

from orders import services as orders
from sagas.core.ids import new_id
from sagas.models import Run
from sagas.testing import MovableClock, drive
from tests.factories.orders import Place

from .conftest import TOKEN, assert_refused, body, get, post

pytestmark = pytest.mark.usefixtures("longest_pauses")

# The token --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token", ["", "Bearer", "Bearer ", "Bearer wrong", "Bearer tést", "Basic test-token", "test-token"]
)
def test_without_the_token_nobody_gets_in(shelves: None, token: str) -> None:
    for response in (post(body(), token=token), get(f"/api/orders/{new_id()}", token=token)):
        assert_refused(response, 401)
        assert response["WWW-Authenticate"] == 'Bearer realm="shop"'


def test_while_no_token_is_set_nobody_gets_in_and_the_log_says_why(
    shelves: None, settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.API_TOKEN = ""
    assert_refused(post(body(), token="Bearer "), 401)
    assert_refused(post(body()), 401)
    assert "set the environment variable API_TOKEN" in caplog.text


def test_neither_session_nor_csrf_token_is_looked_at(shelves: None, django_assert_num_queries: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies["sessionid"] = "x" * 32
    with django_assert_num_queries(6):
        response = client.post(
            "/api/orders", json.dumps(body()), content_type="application/json", headers={"Authorization": TOKEN}
        )
    assert response.status_code == 201


# Looking ----------------------------------------------------------------------------------------------------------


def test_an_order_tells_its_story(place: Place) -> None:
    order = place("tok_flaky")
    before = get(f"/api/orders/{order.id}").json()
    assert (before["status"], before["run"]) == ("pending", None)
    drive(now=MovableClock())
    told = get(f"/api/orders/{order.id}").json()
    assert told["lines"] == [{"sku": "MUG", "name": "Mug", "quantity": 2, "unit_price_minor": 1000}]
    assert told["run"]["id"] == str(Run.objects.get().id)
    assert told["standing"]
    titles = [entry["title"] for entry in told["timeline"]]
    assert titles[0] == "Order placed"
    assert [entry["kind"] for entry in told["timeline"]].count("attempt") == 1
    assert all(entry["at"] and entry["status"] for entry in told["timeline"])


def test_the_story_costs_the_same_however_long_it_is(place: Place, django_assert_max_num_queries: Any) -> None:
    order = place(lines=(("MUG", 1), ("TRAY", 1), ("LAMP", 1)))
    drive()
    with django_assert_max_num_queries(25):
        get(f"/api/orders/{order.id}")


@pytest.mark.parametrize("order_id", ["018f0000-0000-7000-8000-000000000000", "1", "x", "%00", "S100001"])
def test_an_order_that_does_not_exist_is_not_found(db: None, order_id: str) -> None:
    assert_refused(get(f"/api/orders/{order_id}"), 404)


@pytest.mark.parametrize("path", ["/api/", "/api/nothing", "/api/orders/", "/api/orders/1/2", "/api/health/"])
def test_an_address_that_does_not_exist_is_a_problem_document(db: None, path: str) -> None:
    assert_refused(get(path), 404)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/orders"), ("DELETE", "/api/health"), ("PUT", "/api/orders")]
)
def test_a_method_that_is_not_taken_is_a_problem_document(db: None, method: str, path: str) -> None:
    response = Client().generic(method, path, headers={"Authorization": TOKEN})
    assert_refused(response, 405)
    assert response["Allow"]


def test_a_foreign_host_is_a_problem_document(db: None) -> None:
    assert_refused(Client().get("/api/health", headers={"Host": "evil.example"}), 400)


def test_a_bug_is_a_problem_document_that_tells_nothing(shelves: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(orders, "place_many", fail)
    response = post(body())
    assert_refused(response, 500)
    assert b"secret" not in response.content


def test_a_database_that_is_away_is_a_problem_document(shelves: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(orders, "place_many", fail)
    response = post(body())
    assert_refused(response, 503)
    assert response["Retry-After"] == "5"


def test_the_openapi_page_needs_nothing_from_the_internet(db: None) -> None:
    page = Client().get("/api/docs").content.decode()
    assert "https://" not in page
    assert "/static/ninja/swagger-ui-bundle.js" in page
    with closing(Client().get("/static/ninja/swagger-ui-bundle.js")) as script:
        assert script.status_code == 200
    paths = Client().get("/api/openapi.json").json()["paths"]
    of_customers = {"/api/customers/{email}/orders", "/api/customers/{email}/feed"}
    assert set(paths) == {"/api/orders", "/api/orders/{order_id}", "/api/products", *of_customers, "/api/health"}
    assert set(paths["/api/orders"]["post"]["responses"]) == {
        "201", "400", "401", "409", "413", "415", "422", "503",
    }  # fmt: skip
