"""The HTTP API: what it takes, what it refuses, and that a refusal leaves nothing behind."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import OperationalError, connection, connections
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from orders import services as orders
from orders.models import Order, OrderLine, Product
from sagas.books.reconciliation import reconcile
from sagas.core.ids import new_id
from sagas.db import clock
from sagas.models import Event, Run
from sagas.testing import MovableClock, drive
from shop.api import health as shop_health
from shop.reconciliation import LATE_SECONDS
from tests.conftest import ROOT, broker
from tests.factories.orders import Place

pytestmark = pytest.mark.usefixtures("longest_pauses")

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


# Placing ---------------------------------------------------------------------------------------------------------


def test_an_order_is_accepted_with_its_lines_and_its_event(shelves: None) -> None:
    response = post(body(lines=[{"sku": "MUG", "quantity": 2}, {"sku": "TRAY", "quantity": 1}]))
    assert response.status_code == 201
    order = Order.objects.get()
    assert response["Location"] == f"/api/orders/{order.id}"
    assert response.json() | {"placed_at": None} == {
        "id": str(order.id),
        "number": order.number,
        "status": "pending",
        "reason": "",
        "customer": {"email": "ada@example.com", "name": "Ada Lovelace"},
        "payment_method": "tok_visa",
        "currency": "GBP",
        "total_minor": 4500,
        "total": "£45.00",
        "placed_at": None,
        "decided_at": None,
        "links": {"self": f"/api/orders/{order.id}"},
    }
    assert list(order.lines.values_list("sku", "quantity").order_by("sku")) == [("MUG", 2), ("TRAY", 1)]
    assert Event.objects.get().type == "orders.order_placed"


def test_an_order_costs_as_many_statements_with_one_line_as_with_forty(
    shelves: None, django_assert_num_queries: Any
) -> None:
    orders.add_products([(f"P{n}", f"P{n}", 100) for n in range(40)], currency="GBP")
    lines = [{"sku": f"P{n}", "quantity": 1} for n in range(40)]
    # BEGIN and COMMIT, and: products, order, lines, event.
    with django_assert_num_queries(6):
        post(body())
    with django_assert_num_queries(6):
        post(body(lines=lines))
    with django_assert_num_queries(6):
        post(body(), key="k")
    with django_assert_num_queries(5):  # ROLLBACK, for the key is taken; then what stands under it
        post(body(), key="k")


def test_the_same_key_with_the_same_body_is_the_same_order(shelves: None) -> None:
    first, again = post(body(), key="order-17"), post(body(), key="order-17")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    assert Order.objects.count() == Event.objects.count() == 1


def test_a_repeat_tells_how_the_order_stands_by_now(shelves: None) -> None:
    post(body(), key="order-17")
    drive()
    assert post(body(), key="order-17").json()["status"] == "confirmed"


def test_the_same_key_with_another_body_is_refused(shelves: None) -> None:
    first = post(body(), key="order-17").json()
    response = post(body(lines=[{"sku": "MUG", "quantity": 3}]), key="order-17")
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["Idempotency-Key"]
    assert [str(order.id) for order in Order.objects.all()] == [first["id"]]


def test_without_a_key_each_request_is_an_order(shelves: None) -> None:
    assert post(body()).json()["id"] != post(body()).json()["id"]
    assert Order.objects.count() == 2


def test_requests_with_one_key_at_the_same_moment_are_one_order(shelves: None) -> None:
    barrier, answers = threading.Barrier(8), []

    def ask() -> None:
        barrier.wait()
        answers.append(post(body(), key="order-17"))
        connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 8
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.get("Idempotent-Replayed") for answer in answers].count(None) == 1
    assert Order.objects.count() == Event.objects.count() == 1


def test_a_sold_out_product_is_accepted_and_then_rejected(shelves: None) -> None:
    response = post(body(lines=[{"sku": "MUG", "quantity": 101}]))
    assert response.status_code == 201
    drive()
    order = get(response["Location"]).json()
    assert (order["status"], order["reason"]) == ("rejected", "Only 100 of Mug (MUG) are left, and you asked for 101.")


# Refusing --------------------------------------------------------------------------------------------------------


def line(**changes: Any) -> dict[str, Any]:
    return body(lines=[{"sku": "MUG", "quantity": 1}, {"sku": "MUG", "quantity": 1} | changes])


def customer(**changes: Any) -> dict[str, Any]:
    return body(customer={"email": "ada@example.com", "name": "Ada"} | changes)


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (line(sku="NOPE"), "lines.1.sku"),
        (line(sku=""), "lines.1.sku"),
        (line(sku="M" * 41), "lines.1.sku"),
        (line(sku="MU\x00G"), "lines.1.sku"),
        (line(sku="MUG\ud800"), "lines.1.sku"),
        (line(sku=7), "lines.1.sku"),
        (line(sku="mug"), "lines.1.sku"),
        (line(quantity=0), "lines.1.quantity"),
        (line(quantity=-1), "lines.1.quantity"),
        (line(quantity=1_000_001), "lines.1.quantity"),
        (line(quantity=10**30), "lines.1.quantity"),
        (line(quantity=True), "lines.1.quantity"),
        (line(quantity=1.0), "lines.1.quantity"),
        (line(quantity="1"), "lines.1.quantity"),
        (line(quantity=None), "lines.1.quantity"),
        (line(quantity=[1]), "lines.1.quantity"),
        (line(unit_price_minor=1), "lines.1.unit_price_minor"),
        (body(lines=[{"sku": "MUG"}]), "lines.0.quantity"),
        (body(lines=[]), "lines"),
        (body(lines={}), "lines"),
        (body(lines=None), "lines"),
        (body(lines=["MUG"]), "lines.0"),
        (body(lines=[{"sku": "MUG", "quantity": 1}] * 1001), "lines"),
        (customer(email="ada"), "customer.email"),
        (customer(email=""), "customer.email"),
        (customer(email="ada@example.com\nBcc: x@example.com"), "customer.email"),
        (customer(email=f"{'a' * 250}@example.com"), "customer.email"),
        (customer(name=""), "customer.name"),
        (customer(name="   "), "customer.name"),
        (customer(name="A" * 201), "customer.name"),
        (customer(name="Ada\nLovelace"), "customer.name"),
        (customer(name="Ada\x00"), "customer.name"),
        (customer(phone="1"), "customer.phone"),
        (body(customer=None), "customer"),
        (body(payment_method="tok_nope"), "payment_method"),
        (body(payment_method=""), "payment_method"),
        (body(payment_method="x" * 100_000), "payment_method"),
        (body(payment_method=1), "payment_method"),
        (body(payment_methods="tok_visa"), "payment_methods"),
        (body(**{"\x00": 1}), "\\x00"),
        ([], "body"),
        ("order", "body"),
        (None, "body"),
        (1, "body"),
        (b"", "body"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_written(shelves: None, sent: Any, field: str) -> None:
    assert_refused(post(sent, key="k"), 422, field)


def test_all_wrong_fields_are_named_at_once(shelves: None) -> None:
    assert_refused(
        post({"customer": {"email": "a@example.com"}, "lines": [{"sku": "MUG", "quantity": 0}]}),
        422,
        "customer.name",
        "lines.0.quantity",
        "payment_method",
    )


def test_a_product_that_is_not_for_sale_is_unknown(shelves: None) -> None:
    Product.objects.filter(sku="LAMP").update(active=False)
    assert_refused(post(body(lines=[{"sku": "LAMP", "quantity": 1}])), 422, "lines.0.sku")


def test_a_total_no_provider_takes_is_refused(shelves: None) -> None:
    lines = [{"sku": "LAMP", "quantity": 1_000_000}] * 300
    assert_refused(post(body(lines=lines)), 422, "lines")


@pytest.mark.parametrize(
    ("raw", "fields"),
    [
        (b"{", ["body"]),
        (b"\xff\xfe", ["body"]),
        (b'{"quantity": NaN}', ["body"]),
        (b'{"quantity": ' + b"9" * 5000 + b"}", ["body"]),
        (json.dumps(body()).encode("utf-16"), ["body"]),
        (b"[" * 100_000, []),
        (b'{"a":' * 100_000, []),
        (b'{"lines": [], "lines": []}', ["lines"]),
    ],
)
def test_a_body_that_is_not_json_is_refused(shelves: None, raw: bytes, fields: list[str]) -> None:
    assert_refused(post(raw), 400, *fields)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_is_not_announced_as_json_is_refused(shelves: None, content_type: str) -> None:
    assert_refused(post(body(), content_type=content_type), 415)


def test_a_body_that_is_too_large_is_refused(shelves: None) -> None:
    assert_refused(post(b" " * 2_700_000), 413)


@pytest.mark.parametrize("key", ["", "k" * 256, "schlüssel", "a\tb", "import:536365"])
def test_a_key_that_cannot_be_kept_is_refused(shelves: None, key: str) -> None:
    assert_refused(post(body(), key=key), 422, "Idempotency-Key")


def test_a_key_of_255_characters_is_kept(shelves: None) -> None:
    assert post(body(), key="k" * 255).status_code == 201
    assert Order.objects.get().idempotency_key == "k" * 255


# The token -------------------------------------------------------------------------------------------------------


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


# Looking ---------------------------------------------------------------------------------------------------------


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


# Health ----------------------------------------------------------------------------------------------------------


def test_a_shop_that_is_well_says_so_without_a_token(transactional_db: None) -> None:
    response = Client().get("/api/health")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "database": True,
        "broker": True,
        "outbox_lag_seconds": 0.0,
        "needing_attention": 0,
        "open_findings": 0,
        "silent_queues": {},
        "reconciled_seconds_ago": None,
    }


@pytest.mark.parametrize(("late", "status"), [(-30.0, "ok"), (1.0, "degraded")])
def test_books_that_nobody_looks_at_degrade_the_shop(transactional_db: None, late: float, status: str) -> None:
    long_ago = clock.now() - timedelta(seconds=LATE_SECONDS + late)
    reconcile(now=long_ago, checks=())
    answer = Client().get("/api/health").json()
    assert answer["status"] == status
    assert answer["reconciled_seconds_ago"] == pytest.approx(LATE_SECONDS + late, abs=29)


def test_events_that_wait_too_long_degrade_the_shop(place: Place) -> None:
    place(now=datetime.fromisoformat("2026-01-01T00:00:00Z"))
    answer = Client().get("/api/health").json()
    assert answer["status"] == "degraded"
    assert answer["outbox_lag_seconds"] > shop_health.LAG_SECONDS


@pytest.fixture
def silent_server() -> Iterator[int]:
    """A port that takes connections and never says a word: worse than one that refuses them."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield server.getsockname()[1]


def run_python(code: str, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        timeout=60,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


ASK_HEALTH = """
import json, time
import django; django.setup()
from django.test import Client
started = time.monotonic()
response = Client().get("/api/health", headers={"host": "localhost"})
print(json.dumps({"seconds": time.monotonic() - started, "status": response.status_code, "document": response.json()}))
"""


@pytest.mark.parametrize("kind", ["silent", "refusing"])
def test_health_answers_in_two_seconds_while_every_server_is_down(silent_server: int, kind: str) -> None:
    port = silent_server if kind == "silent" else 1
    answer = run_python(
        ASK_HEALTH,
        DJANGO_SETTINGS_MODULE="shop.settings",
        SECRET_KEY="x" * 50,
        HTTPS="off",
        DATABASE_URL=f"postgresql://nobody@127.0.0.1:{port}/none",
        CELERY_BROKER_URL=f"redis://127.0.0.1:{port}/0",
    )
    assert answer["status"] == 503
    assert answer["seconds"] < 3.0
    assert answer["document"] | {"type": ""} == {
        "type": "",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "Does not work: database, broker.",
        "errors": [],
        "database": False,
        "broker": False,
        "outbox_lag_seconds": None,
        "needing_attention": None,
        "open_findings": None,
        "silent_queues": None,
        "reconciled_seconds_ago": None,
    }


def refuse_for_memory(redis: Redis) -> None:
    redis.config_set("maxmemory", 1)


def refuse_as_a_replica(redis: Redis) -> None:
    redis.replicaof("127.0.0.1", 1)


@pytest.fixture
def full_redis() -> Iterator[Redis]:
    with broker() as redis:
        redis.flushdb()
        yield redis
        redis.replicaof("no", "one")
        redis.config_set("maxmemory", 0)


@pytest.mark.parametrize("refuse", [refuse_for_memory, refuse_as_a_replica])
def test_a_broker_that_answers_and_takes_no_message_is_down(
    transactional_db: None, full_redis: Redis, refuse: Callable[[Redis], None]
) -> None:
    assert Client().get("/api/health").json()["status"] == "ok"
    assert full_redis.keys("*") == []  # the probe leaves nothing behind
    refuse(full_redis)
    answer = Client().get("/api/health")
    assert full_redis.ping()
    assert answer.status_code == 503
    assert answer.json()["detail"] == "Does not work: broker."
    assert (answer.json()["database"], answer.json()["broker"]) == (True, False)


PLACE_TWENTY = """
import json, sys, time
import django; django.setup()
from django.test import Client
from shop.celery import app
app.conf.broker_url = sys.argv[1] if len(sys.argv) > 1 else {broker!r}
def post():
    started = time.monotonic()
    response = Client().post("/api/orders", {body!r}, content_type="application/json",
                             headers={{"Authorization": "Bearer test-token", "Host": "localhost"}})
    return response.status_code, time.monotonic() - started
post()
answers = [post() for _ in range(20)]
print(json.dumps({{"statuses": [status for status, _ in answers], "slowest": max(seconds for _, seconds in answers)}}))
"""


@pytest.mark.parametrize("kind", ["silent", "refusing"])
def test_placing_does_not_wait_for_a_broker_that_is_down(
    shelves: None, tmp_path: Path, silent_server: int, kind: str
) -> None:
    broker = f"redis://127.0.0.1:{silent_server if kind == 'silent' else 1}/0"
    answer = run_python(
        PLACE_TWENTY.format(broker=broker, body=json.dumps(body())),
        DJANGO_SETTINGS_MODULE="tests.worker_settings",
        TEST_DATABASE=connection.settings_dict["NAME"],
        TEST_MAIL=str(tmp_path),
    )
    assert answer["statuses"] == [201] * 20
    assert answer["slowest"] < 1.0
    assert Event.objects.filter(log_position=None).count() == 21


# Anything --------------------------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["MUG", "tok_visa", "invoice", "ada@example.com", "\x00", "\ud800", 10**40, -1, 0, 1, ""])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["customer", "lines", "payment_method", "email", "name", "sku", "quantity"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
PLACES = st.sampled_from(
    [
        ("customer",),
        ("customer", "email"),
        ("customer", "name"),
        ("customer", "more"),
        ("lines",),
        ("lines", 0),
        ("lines", 0, "sku"),
        ("lines", 0, "quantity"),
        ("payment_method",),
        ("more",),
    ]
)


def changed(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    sent = body()
    at: Any = sent
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = value
    return sent


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sent=JSON | st.builds(changed, PLACES, JSON) | st.binary(max_size=200), key=st.none() | st.text(max_size=5))
def test_whatever_is_sent_is_an_order_or_a_refusal_that_writes_nothing(
    shelves: None, sent: Any, key: str | None
) -> None:
    # A header cannot carry everything; what it cannot carry does not arrive.
    key = None if key is None or not key.isprintable() or not key.isascii() else key
    before = Order.objects.count(), Event.objects.count()
    response = post(sent, key=key)
    after = Order.objects.count(), Event.objects.count()
    if response.status_code == 201:
        assert after == (before[0] + 1, before[1] + 1) or response["Idempotent-Replayed"] == "true"
    else:
        assert response.status_code in {400, 413, 415, 422}
        assert response["Content-Type"] == PROBLEM
        assert after == before
