"""Receivers are read from the environment and judged before anything starts; no line shows a secret."""

import json
from typing import Any

import pytest

from sagas.core.subscription import StartAt
from shop.outward import receivers

SECRET = f"whsec_{'QUFB' * 12}"
HOOK: dict[str, Any] = {"name": "erp", "url": "https://erp.example.com/events", "secret": SECRET}
BROKER = "redis://user:pass@host:6379/0"


def webhooks(*entries: Any, insecure: bool = False) -> tuple[receivers.Webhook, ...]:
    return receivers.webhooks(json.dumps(entries), insecure=insecure)


def streams(*entries: Any, broker_url: str = BROKER) -> tuple[receivers.Stream, ...]:
    return receivers.streams(json.dumps(entries), broker_url=broker_url, taken={"orders"})


def test_nothing_is_configured_unless_somebody_does() -> None:
    assert receivers.webhooks("", insecure=False) == ()
    assert receivers.streams(" ", broker_url=BROKER, taken=set()) == ()


def test_a_webhook_has_its_defaults() -> None:
    (hook,) = webhooks(HOOK)
    assert (hook.name, hook.types, hook.start_at, hook.timeout_seconds, hook.host) == (
        "erp", None, StartAt.NOW, 8.0, "erp.example.com",
    )  # fmt: skip
    (hook,) = webhooks({**HOOK, "events": ["orders.order_placed"], "start_at": "beginning", "timeout_seconds": 3})
    assert (hook.types, hook.start_at, hook.timeout_seconds) == (("orders.order_placed",), StartAt.BEGINNING, 3.0)


def test_a_stream_stands_on_the_broker_unless_told_otherwise() -> None:
    (lake,) = streams({"name": "lake", "key": "events"})
    assert (lake.url, lake.maxlen) == (BROKER, 100_000)
    (lake,) = streams({"name": "lake", "key": "events", "url": "redis://other:6379/1", "maxlen": 10})
    assert (lake.url, lake.maxlen) == ("redis://other:6379/1", 10)
    (lake,) = streams({"name": "lake", "key": "events"}, broker_url="redis+socket:///tmp/a b/redis.sock?virtual_host=2")
    assert lake.url == "unix:///tmp/a%20b/redis.sock?db=2"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"secret": "S3cret"}, "erp: secret: whsec_ and 24 to 64 bytes in Base64 behind it are needed"),
        ({"secret": f"whsec_{'QUFB' * 3}"}, "erp: secret: whsec_ and 24 to 64 bytes in Base64 behind it are needed"),
        ({"secret": []}, "erp: secret: whsec_ and 24 to 64 bytes in Base64 behind it are needed"),
        ({"secret": 5}, "entry 1, secret: "),
        ({"url": "ftp://erp/S3cret"}, "erp: url: a URL such as https://erp.example.com/events is needed"),
        ({"url": "https://"}, "erp: url: a URL such as https://erp.example.com/events is needed"),
        ({"url": "https://erp/a b"}, "erp: url: a URL such as https://erp.example.com/events is needed"),
        ({"url": "https://erp:S3cret/"}, "erp: url: it is none"),
        ({"url": "https://me:S3cret@erp/"}, "erp: url: no user and no password in it: what comes is signed"),
        ({"url": "http://erp.example.com/"}, "erp: url: https is needed; http only to this machine, or with DEBUG"),
        ({"name": "Erp S3cret"}, "entry 1, name: String should match pattern '^[a-z0-9][a-z0-9-]{0,59}$'"),
        ({"start_at": "S3cret"}, "entry 1, start_at: Input should be 'now' or 'beginning'"),
        ({"events": []}, "entry 1, events: List should have at least 1 item after validation, not 0"),
        ({"timeout_seconds": 60}, "entry 1, timeout_seconds: Input should be less than or equal to 10"),
        ({"S3cret": 1}, "entry 1: Extra inputs are not permitted"),
        ({"sercet": "S3cret"}, "entry 1, sercet: Extra inputs are not permitted"),
    ],
)
def test_a_webhook_that_cannot_be_used_is_one_clear_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SystemExit) as refused:
        webhooks({**HOOK, **change})
    assert str(refused.value).startswith(f"shop: WEBHOOKS: {said}")
    assert "S3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("S3cret", 'a JSON list is needed, such as [{"name": "erp", …}]'),
        ('{"secret": "S3cret"}', "the whole: Input should be a valid list"),
        ('["S3cret"]', "entry 1: Input should be a valid dictionary or instance of _WebhookEntry"),
        (json.dumps([HOOK, HOOK]), "two receivers are called 'erp'"),
        (json.dumps([{"name": "erp"}]), "entry 1, url: Field required"),
    ],
)
def test_text_that_is_no_list_of_webhooks_is_one_clear_line(text: str, said: str) -> None:
    with pytest.raises(SystemExit) as refused:
        receivers.webhooks(text, insecure=False)
    assert str(refused.value) == f"shop: WEBHOOKS: {said}"


@pytest.mark.parametrize(
    ("change", "broker_url", "said"),
    [
        ({"key": "orders"}, BROKER, "lake: key: the broker uses 'orders' itself"),
        ({"key": "unacked_index"}, BROKER, "lake: key: the broker uses 'unacked_index' itself"),
        ({"url": "http://S3cret"}, BROKER, "lake: url: a URL such as redis://host:6379/0 is needed"),
        ({}, "amqp://u:S3cret@host//", "lake: url: the broker is no Redis: name one"),
        ({"maxlen": 0}, BROKER, "entry 1, maxlen: Input should be greater than or equal to 1"),
    ],
)
def test_a_stream_that_cannot_be_used_is_one_clear_line(change: dict[str, Any], broker_url: str, said: str) -> None:
    with pytest.raises(SystemExit) as refused:
        streams({"name": "lake", "key": "events", **change}, broker_url=broker_url)
    assert str(refused.value) == f"shop: STREAMS: {said}"


def test_http_is_allowed_to_this_machine_and_with_debug() -> None:
    for host in ("localhost", "127.0.0.1:8080", "[::1]"):
        assert webhooks({**HOOK, "url": f"http://{host}/"})
    assert webhooks({**HOOK, "url": "http://erp.example.com/"}, insecure=True)


def test_no_receiver_shows_its_secret_or_its_url() -> None:
    shown = repr((*webhooks({**HOOK, "url": "https://erp/token"}), *streams({"name": "lake", "key": "events"})))
    assert "QUFB" not in shown
    assert "token" not in shown
    assert "pass" not in shown


def test_an_event_nobody_publishes_is_named() -> None:
    (hook,) = webhooks({**HOOK, "events": ["orders.order_plaecd"]})
    with pytest.raises(SystemExit, match=r"WEBHOOKS: erp: there is no event 'orders.order_plaecd'; there are inv"):
        receivers.events_for("WEBHOOKS", hook)


def test_all_integration_events_are_meant_unless_told_otherwise() -> None:
    (every,) = webhooks(HOOK)
    types = [event.type for event in receivers.events_for("WEBHOOKS", every)]
    assert "orders.order_placed" in types
    assert "notifications.notification_queued" not in types
    (one,) = webhooks({**HOOK, "events": ["orders.order_placed", "orders.order_placed"]})
    assert [event.type for event in receivers.events_for("WEBHOOKS", one)] == ["orders.order_placed"]
