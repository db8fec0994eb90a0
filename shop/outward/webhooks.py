"""Webhooks: sends an event as a signed POST (Standard Webhooks), in the CloudEvents envelope.

Source: standardwebhooks.com, "Specification"; CloudEvents 1.0.2, "HTTP Protocol Binding", structured mode.
"""

import json
import time
from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any
from uuid import UUID

import urllib3
from django.urls import NoReverseMatch, reverse
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from sagas.core.errors import TryTimedOut
from sagas.core.subscription import ReactionToMany, Received
from sagas.db.time_limit import time_limit
from sagas.log import cloudevents

from .errors import ReceiverAway, ReceiverGone, ReceiverRefused
from .receivers import BATCH_SECONDS, Resting, Webhook

_CONNECT_SECONDS = 2.0
#: Maximum bytes of an answer's body, and seconds to read it. Only the status decides; the body is read for the reason
#: of a refusal, and to its end so that the connection can be reused.
_MAX_BYTES = 16_384
_BODY_SECONDS = 1.0
_MAX_SHOWN = 200

_resting: Resting[str] = Resting()


def poster(webhook: Webhook) -> ReactionToMany:
    """Return the function that posts events to a receiver, one after the other over one connection.

    The call refuses a transaction. A post is made at least once; the receiver is idempotent by `webhook-id`, the id of
    the event.

    Outcomes of that function, by event id: None; `ReceiverGone`, Rejected: it answered 410; `ReceiverAway` or
    `ReceiverRefused`, Retryable: it could not be reached, or its status was not 2xx. When the receiver is away or asks
    for time, the later events have the same outcome; when the time is up, they have none.
    """

    def post(received: Sequence[Received[Any]]) -> dict[UUID, object]:
        outcomes: dict[UUID, object] = {}
        until = time.monotonic() + BATCH_SECONDS
        for place, each in enumerate(received):
            if outcomes and time.monotonic() > until:
                break
            try:
                _post(webhook, each)
            except (ReceiverGone, ReceiverAway, ReceiverRefused) as error:
                outcomes[each.event_id] = error
                if isinstance(error, ReceiverAway) or getattr(error, "retry_after_seconds", None) is not None:
                    return outcomes | {behind.event_id: error for behind in received[place:]}
            else:
                outcomes[each.event_id] = None
        return outcomes

    return post


def _post(webhook: Webhook, received: Received[Any]) -> None:
    _resting.refuse(webhook.name, webhook.host, received.now)
    body = json.dumps(_told_to(webhook, received.stored), ensure_ascii=False, separators=(",", ":"))
    try:
        # For the whole exchange up to the last header. The timeouts of the pool apply to each received part.
        with time_limit(webhook.timeout_seconds):
            answer = _pool().request(
                "POST",
                webhook.url,
                body=body.encode(),
                headers=_headers(webhook, str(received.event_id), body, received.now),
                timeout=urllib3.Timeout(
                    connect=min(_CONNECT_SECONDS, webhook.timeout_seconds), read=webhook.timeout_seconds
                ),
                redirect=False,
                retries=False,
                preload_content=False,
            )
    except (HTTPError, TryTimedOut) as error:
        _resting.note_away(webhook.name, received.now)
        raise ReceiverAway(_text_of(error, webhook)) from None
    _resting.note_there(webhook.name)
    _judge(webhook, answer, _body(answer), received.now)


def _told_to(webhook: Webhook, event: Any) -> dict[str, Any]:
    if not webhook.pings:
        return cloudevents.envelope(event)
    try:
        where = reverse("api:get_order", kwargs={"order_id": event.key})
    except NoReverseMatch:  # its key is not an order's
        where = ""
    return cloudevents.ping(event, dataref=where)


def _body(answer: urllib3.BaseHTTPResponse) -> bytes:
    """Return the beginning of the body; empty if it does not come in time."""
    try:
        with time_limit(_BODY_SECONDS):
            return answer.read(_MAX_BYTES, decode_content=False)
    except (HTTPError, TryTimedOut):
        return b""
    finally:
        answer.close()  # if it was read to its end, its connection is in the pool again


def _headers(webhook: Webhook, event_id: str, body: str, now: datetime) -> dict[str, str]:
    return {
        "Content-Type": f"{cloudevents.MEDIA_TYPE}; charset=utf-8",
        "User-Agent": "shop-webhooks/1",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signer.sign(event_id, now, body) for signer in webhook.signers),
    }


@cache
def _pool() -> urllib3.PoolManager:
    """Return the connection pool of this process; it opens no connection before a worker has forked."""
    return urllib3.PoolManager(num_pools=50, maxsize=1)


def _judge(webhook: Webhook, answer: urllib3.BaseHTTPResponse, said: bytes, now: datetime) -> None:
    status = answer.status
    if 200 <= status < 300:
        return
    if status == 410:
        raise ReceiverGone(webhook.host)
    asked = _asked_seconds(answer.headers.get("Retry-After", ""), now) if status in (429, 503) else None
    if asked:
        _resting.note_asked(webhook.name, now, asked)
    if 300 <= status < 400:
        why = "redirects are not followed; name the place it leads to"
    else:
        why = _shown(said) or answer.reason or ""
    raise ReceiverRefused(f"{webhook.host} answered {status}{f': {why}' if why else ''}", retry_after_seconds=asked)


def _shown(said: bytes) -> str:
    text = " ".join(said.decode("utf-8", "replace").split())
    return "".join(letter for letter in text[:_MAX_SHOWN] if letter.isprintable())


def _asked_seconds(text: str, now: datetime) -> float | None:
    """Return the seconds of a Retry-After, which may be a date; None if it is neither."""
    if text.strip().isascii() and text.strip().isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, (moment - now).total_seconds()) if moment.tzinfo is not None else None


def _text_of(error: HTTPError | TryTimedOut, webhook: Webhook) -> str:
    """Return a text why there is no answer; the libraries' own texts show paths, which may hold tokens."""
    match error:
        case NameResolutionError():
            return f"the name {webhook.host} leads nowhere (DNS)"
        case NewConnectionError():
            return f"{webhook.host} takes no connection: {_reason(error)}"
        case ConnectTimeoutError():
            return f"no connection to {webhook.host} within {_CONNECT_SECONDS:g} s"
        case ReadTimeoutError() | TryTimedOut():
            return f"{webhook.host} gave no answer within {webhook.timeout_seconds:g} s"
        case SSLError():
            return f"no TLS with {webhook.host}: {_reason(error)}"
        case _:
            return f"the connection to {webhook.host} broke: {_reason(error)}"


def _reason(error: BaseException) -> str:
    """Return the message of the operating system or of TLS."""
    inner = error.__cause__ or error.__context__ or next((a for a in error.args if isinstance(a, BaseException)), None)
    while isinstance(inner, HTTPError) and (inner.__cause__ or inner.args[1:]):
        inner = inner.__cause__ or inner.args[1]
    if isinstance(inner, OSError):
        return inner.strerror or type(inner).__name__
    return type(inner or error).__name__
