"""The consumer in docs/outward.md works: it verifies, and does the work of an event once."""

import re
import sqlite3
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sagas.models import Delivery
from sagas.testing import MovableClock, drive
from shop import wiring
from shop.outward import receivers

from .conftest import SECRET, Inside, Tell, follow

PAGE = Path(__file__).resolve().parents[4] / "docs" / "outward.md"
OTHER = f"whsec_{'QUFB' * 12}"


class Consumer:
    def __init__(self, server: ThreadingHTTPServer, database: Path) -> None:
        self.url, self.database = f"http://127.0.0.1:{server.server_address[1]}/", database

    def seen(self) -> list[tuple[str, str]]:
        with sqlite3.connect(self.database) as database:
            return list(database.execute("SELECT key, type FROM seen ORDER BY rowid"))


@pytest.fixture
def consumer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Consumer]:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    database = tmp_path / "consumer.sqlite"
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.setenv("DATABASE", str(database))
    names: dict[str, Any] = {"__name__": "consumer"}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102 - our own page
    names["Receiver"].log_message = lambda *_: None
    server: ThreadingHTTPServer = names["serve"](0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Consumer(server, database)
    server.shutdown()
    server.server_close()


def wire(consumer: Consumer, clock: MovableClock, secret: str) -> None:
    hook = f'[{{"name": "erp", "url": "{consumer.url}", "secret": "{secret}"}}]'
    (webhook,) = receivers.webhooks(hook, insecure=False)
    follow(wiring.to_webhook(webhook), clock)


def test_it_does_the_work_of_an_event_once_however_often_it_comes(
    neighbour: Inside, consumer: Consumer, tell: Tell, clock: MovableClock
) -> None:
    wire(consumer, clock, SECRET)
    tell("k", 1, 2)
    drive(now=clock)
    assert consumer.seen() == [("k", "tests.outward_told")] * 2
    Delivery.objects.filter(subscription="webhook-erp").update(status="running", due_at=clock(), finished_at=None)
    drive(now=clock)
    assert not Delivery.objects.exclude(status="done").exists()
    assert len(consumer.seen()) == 2


def test_it_refuses_what_another_has_signed(
    neighbour: Inside, consumer: Consumer, tell: Tell, clock: MovableClock
) -> None:
    wire(consumer, clock, OTHER)
    tell("k", 1)
    drive(now=clock)
    assert consumer.seen() == []
    assert "answered 401" in Delivery.objects.get(subscription="webhook-erp").error
