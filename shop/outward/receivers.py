"""The receivers of events outside the shop, from the environment: parsed and checked at start-up."""

import json
import re
from base64 import b64decode
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit

from django.apps import apps
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from standardwebhooks import Webhook as Signer

from sagas.core.events import DomainEvent, IntegrationEvent, known_events
from sagas.core.retry import Retry
from sagas.core.subscription import StartAt

from ..platform import environment
from .errors import ReceiverAway

#: A day of tries, the last ones a quarter of an hour apart on average, half an hour at most: a receiver that was away
#: for hours gets its events soon after it is back. A try, with all calls of a batch, ends well before its lease.
RETRY = Retry(attempts=100, base_seconds=2, cap_seconds=1800, try_seconds=20)
LEASE = timedelta(seconds=30)
#: Maximum number of open deliveries of a receiver; further events wait in the log.
MAX_OPEN_DELIVERIES = 5_000
#: Maximum number of messages of one receiver that are worked on at once: a slow receiver holds no more workers.
AT_ONCE = 1
#: Maximum seconds after which a batch begins its next call; with the longest call it ends within a try.
BATCH_SECONDS = 8.0
#: Pause after a receiver did not answer: doubled each time, from the first to the last of these.
_FIRST_REST_SECONDS, _LONGEST_REST_SECONDS = 2.0, 60.0

#: Secrets of Standard Webhooks: 24 to 64 bytes.
_SECRET = re.compile(r"whsec_[A-Za-z0-9+/]+={0,2}")
#: A name is part of a task's name and of many lines.
_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")]


class _Entry(BaseModel):
    # An error must not show the typed value: it may be the secret.
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    name: _Name
    events: list[str] | None = Field(None, min_length=1)
    start_at: Literal["now", "beginning"] = "now"


class _WebhookEntry(_Entry):
    url: str
    secret: str | list[str]
    #: Together with the second for the body it is shorter than the time that a batch leaves of a try.
    timeout_seconds: float = Field(8.0, ge=0.1, le=10, strict=False)
    pings: bool = False


class _StreamEntry(_Entry):
    key: str = Field(min_length=1, max_length=200)
    url: str = ""
    maxlen: int = Field(100_000, ge=1)


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """A receiver of events.

    Attributes:
        types: types of its events; None for all integration events.
    """

    name: str
    types: tuple[str, ...] | None = None
    start_at: StartAt = StartAt.NOW


@dataclass(frozen=True, kw_only=True)
class Webhook(Receiver):
    """A receiver that is called over HTTP.

    Attributes:
        signers: one for each secret, the newest first; they never show it.
        timeout_seconds: time limit of an answer, from the connection to the last header.
        pings: it gets notifications without data, and fetches the data itself.
    """

    #: May hold a token in its path.
    url: str = field(repr=False)
    signers: tuple[Signer, ...] = field(repr=False)
    timeout_seconds: float = 8.0
    pings: bool = False

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


@dataclass(frozen=True, kw_only=True)
class Stream(Receiver):
    """A stream of a Redis.

    Attributes:
        maxlen: about so many entries are kept.
    """

    key: str
    #: May hold a password.
    url: str = field(repr=False)
    maxlen: int = 100_000


# Reading the environment ----------------------------------------------------------------------------------------------

_E = TypeVar("_E", bound=_Entry)


def webhooks(text: str, *, insecure: bool) -> tuple[Webhook, ...]:
    """Return the receivers of the variable WEBHOOKS.

    Args:
        insecure: http is allowed for every host.

    Raises:
        SystemExit: it cannot be used; the line says which entry and why, and shows no value.
    """
    found = []
    for entry in _entries("WEBHOOKS", text, _WebhookEntry):
        if why := _unfit_url(entry.url, insecure=insecure):
            _refuse("WEBHOOKS", entry, f"url: {why}")
        secrets = [entry.secret] if isinstance(entry.secret, str) else entry.secret
        if not secrets or not all(map(_is_secret, secrets)):
            _refuse("WEBHOOKS", entry, "secret: whsec_ and 24 to 64 bytes in Base64 behind it are needed")
        found.append(
            Webhook(
                **_common(entry),
                url=entry.url,
                signers=tuple(map(Signer, secrets)),
                timeout_seconds=entry.timeout_seconds,
                pings=entry.pings,
            )
        )
    return tuple(found)


def streams(text: str, *, broker_url: str, taken: Collection[str]) -> tuple[Stream, ...]:
    """Return the receivers of the variable STREAMS; one without a URL uses the broker's Redis.

    Args:
        taken: keys that the broker itself uses.

    Raises:
        SystemExit: it cannot be used; the line says which entry and why, and shows no value.
    """
    found = []
    for entry in _entries("STREAMS", text, _StreamEntry):
        url = entry.url or broker_url
        if url.partition(":")[0] not in ("redis", "rediss", "redis+socket", "unix"):
            why = "a URL such as redis://host:6379/0 is needed" if entry.url else "the broker is no Redis: name one"
            _refuse("STREAMS", entry, f"url: {why}")
        if not entry.url and (entry.key in taken or entry.key.startswith(("_kombu", "unacked"))):
            _refuse("STREAMS", entry, f"key: the broker uses {entry.key!r} itself")
        found.append(Stream(**_common(entry), key=entry.key, url=environment.redis_url(url), maxlen=entry.maxlen))
    return tuple(found)


def _entries(variable: str, text: str, kind: type[_E]) -> list[_E]:
    entries: list[_E]
    if not text.strip():
        return []
    try:
        parsed = json.loads(text)
        entries = TypeAdapter(list[kind]).validate_python(parsed)  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place, *path = first["loc"] or ("",)
        where = "".join(str(part) for part in path[:1] if str(part).islower() and len(str(part)) < 20)
        entry = f"entry {place + 1}" if isinstance(place, int) else "the whole"
        environment.refuse(variable, f"{entry}{f', {where}' if where else ''}: {first['msg']}")
    except (ValueError, RecursionError):
        environment.refuse(variable, 'a JSON list is needed, such as [{"name": "erp", …}]')
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            environment.refuse(variable, f"two receivers are called {name!r}")
    return entries


def _refuse(variable: str, entry: _Entry, why: str) -> None:
    environment.refuse(variable, f"{entry.name}: {why}")


def _common(entry: _Entry) -> dict[str, Any]:
    types = None if entry.events is None else tuple(dict.fromkeys(entry.events))
    return {"name": entry.name, "types": types, "start_at": StartAt(entry.start_at)}


def _unfit_url(url: str, *, insecure: bool) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "it is none"
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\x00-\x1f]", url):
        return "a URL such as https://erp.example.com/events is needed"
    if parts.username is not None or parts.password is not None:
        return "no user and no password in it: what comes is signed"
    if parts.scheme == "http" and not insecure and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        return "https is needed; http only to this machine, or with DEBUG"
    return ""


def _is_secret(text: str) -> bool:
    if not _SECRET.fullmatch(text):
        return False
    try:
        return 24 <= len(b64decode(text.removeprefix("whsec_") + "==")) <= 64
    except ValueError:
        return False


# Wiring ---------------------------------------------------------------------------------------------------------------


def events_for(variable: str, receiver: Receiver) -> tuple[type[DomainEvent], ...]:
    """Return the events a receiver wants.

    Raises:
        SystemExit: there is no such integration event.
    """
    known = {event.type: event for event in _integration_events()}
    for name in receiver.types or ():
        if name not in known:
            environment.refuse(variable, f"{receiver.name}: there is no event {name!r}; there are {', '.join(known)}")
    return tuple(known.values() if receiver.types is None else (known[name] for name in receiver.types))


def _integration_events() -> Iterable[type[IntegrationEvent]]:
    for event in known_events():
        if issubclass(event, IntegrationEvent) and apps.get_containing_app_config(event.__module__) is not None:
            yield event


# Receivers that are away ----------------------------------------------------------------------------------------------

_K = TypeVar("_K")


@dataclass
class _Rest:
    times: int
    until: datetime


class Resting(Generic[_K]):
    """Receivers that this process does not call for some seconds, because they did not answer or asked for time.

    Without it, each key with events for a receiver that hangs would hold a worker for a whole timeout, and other work
    would wait behind it.
    """

    def __init__(self) -> None:
        self._rests: dict[_K, _Rest] = {}

    def refuse(self, receiver: _K, name: str, now: datetime) -> None:
        """Return if it may be called.

        Raises:
            ReceiverAway: it did not answer a moment ago.
        """
        rest = self._rests.get(receiver)
        if rest is not None and now < rest.until:
            raise ReceiverAway(f"{name} did not answer a moment ago, or asked for time; it was not called again yet")

    def note_away(self, receiver: _K, now: datetime) -> None:
        rest = self._rests.get(receiver)
        times = 1 if rest is None else rest.times + 1
        seconds = min(_LONGEST_REST_SECONDS, _FIRST_REST_SECONDS * 2 ** min(times - 1, 10))
        self._rests[receiver] = _Rest(times=times, until=now + timedelta(seconds=seconds))

    def note_asked(self, receiver: _K, now: datetime, seconds: float) -> None:
        """Note that it asked for this time. Other deliveries wait at most `_LONGEST_REST_SECONDS` of it."""
        until = now + timedelta(seconds=min(_LONGEST_REST_SECONDS, seconds))
        self._rests[receiver] = _Rest(times=1, until=until)

    def note_there(self, receiver: _K) -> None:
        self._rests.pop(receiver, None)
