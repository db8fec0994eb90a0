"""A receiver with a server of its own, which answers as it is told, and is away as long as it is told."""

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from django.db import transaction
from standardwebhooks import Webhook as Verifier

from sagas.core import registry
from sagas.core.events import IntegrationEvent
from sagas.core.registry import Registry
from sagas.core.subscription import Received, Subscription
from sagas.log import followers, outbox
from sagas.models import Event
from sagas.testing import MovableClock
from shop import wiring
from shop.outward import receivers, streams, webhooks

SECRET = f"whsec_{base64.b64encode(b'0123456789abcdef01234567').decode()}"


class Told(IntegrationEvent):
    type: ClassVar[str] = "tests.outward_told"
    aggregate: ClassVar[str] = "outward"

    name: str
    number: int

    @property
    def subject_id(self) -> str:
        return self.name


class Post:
    """One that came in."""

    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        self.headers, self.body = headers, body
        self.id = headers["webhook-id"]
        self.event = json.loads(body)
        self.key = self.event["partitionkey"]


class LocalReceiver:
    """Takes what comes, unless it is told otherwise: `answers` is asked first, for a status and headers."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.taken: list[Post] = []
        self.answers: Callable[[Post], int | tuple[int, dict[str, str]]] = lambda _: 204
        self.hangs_seconds = 0.0
        self.connections = 0
        self._open: list[socket.socket] = []
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/events"

    def come(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                receiver.connections += 1
                receiver._open.append(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                post = Post({name.lower(): value for name, value in self.headers.items()}, body)
                receiver.posts.append(post)
                time.sleep(receiver.hangs_seconds)
                answer = receiver.answers(post)
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                if 200 <= status < 300:
                    receiver.taken.append(post)
                said = b"" if status == 204 else b"what it says"
                self.send_response(status)
                for name, value in {"Content-Length": str(len(said)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 100

            def handle_error(self, *_: Any) -> None:
                """Say nothing: who hangs is left."""

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def leave(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            while self._open:
                with suppress(OSError):
                    self._open.pop().shutdown(socket.SHUT_RDWR)

    def numbers(self, key: str) -> list[int]:
        return [post.event["data"]["number"] for post in self.taken if post.key == key]

    def all_numbers(self) -> dict[str, list[int]]:
        return {key: self.numbers(key) for key in sorted({post.key for post in self.taken})}


@pytest.fixture
def receiver_named() -> Iterator[Callable[[], LocalReceiver]]:
    with ExitStack() as stack:

        def make() -> LocalReceiver:
            receiver = LocalReceiver()
            receiver.come()
            stack.callback(receiver.leave)
            return receiver

        yield make


@pytest.fixture
def receiver(receiver_named: Callable[[], LocalReceiver]) -> LocalReceiver:
    return receiver_named()


class Inside:
    """A neighbour that is nobody's receiver."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def react(self, received: Received[Told]) -> None:
        self.told.append((received.event.name, received.event.number))


@pytest.fixture
def neighbour(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inside]:
    """Know nobody else."""
    for module in (webhooks, streams):
        monkeypatch.setattr(module, "_resting", receivers.Resting())
    inside = Inside()
    with Registry([Subscription("neighbour", event=Told, queue="sagas", react=inside.react)]).active():
        yield inside


def webhook(receiver: LocalReceiver, name: str = "erp", **more: Any) -> receivers.Webhook:
    entry = {"name": name, "url": receiver.url, "secret": SECRET, **more}
    (found,) = receivers.webhooks(json.dumps([entry]), insecure=False)
    return found


def follow(subscription: Subscription, clock: MovableClock) -> None:
    """Wire it, to the tests' event."""
    registry.register([replace(subscription, event=Told)])
    followers.create_missing(now=clock())


@pytest.fixture
def erp(neighbour: Inside, receiver: LocalReceiver, clock: MovableClock) -> LocalReceiver:
    """A receiver that is wired as `webhook-erp`."""
    follow(wiring.to_webhook(webhook(receiver, timeout_seconds=0.3)), clock)
    return receiver


Tell = Callable[..., None]


@pytest.fixture
def tell(clock: MovableClock) -> Tell:
    def tell(key: str, *numbers: int) -> None:
        with transaction.atomic():
            outbox.emit(*(Told(name=key, number=number) for number in numbers), now=clock())

    return tell


def verify(posts: Sequence[Post], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the library verify what came, each at the time it was sent: the test's clock is not the machine's."""
    for post in posts:
        sent_at = datetime.fromtimestamp(int(post.headers["webhook-timestamp"]), UTC)
        monkeypatch.setattr("standardwebhooks.webhooks.datetime", at(sent_at))
        assert Verifier(SECRET).verify(post.body, post.headers)["id"] == post.id


def at(moment: datetime) -> type[datetime]:
    class Datetime(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return moment

    return Datetime


def event_ids() -> set[str]:
    return {str(each) for each in Event.objects.values_list("id", flat=True)}
