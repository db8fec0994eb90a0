"""Redis Streams: adds an event as an entry, once, however often it is tried.

Note [Once a stream]: beside the stream there is a set of the latest keys, as many as the stream keeps entries; a script
checks the set and adds to both atomically. So a worker that died before it noted its success, or that was frozen and
woke up after another had done its work, adds no entry again and does not change the order. Our own ids
(`<log_position>-0`) would not work: deliveries are in order per key only, and XADD refuses an id below the last one.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer
from redis.retry import Retry

from sagas.core.subscription import ReactionToMany, Received
from sagas.log import cloudevents

from .errors import ReceiverAway, ReceiverRefused
from .receivers import Resting, Stream

_CONNECT_SECONDS, _ANSWER_SECONDS = 2.0, 5.0

_ADD = """
    if redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
    local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 3))
    redis.call('ZADD', KEYS[2], string.match(id, '^%d+'), ARGV[1])
    redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -ARGV[2] - 1)
    return 1
    """

_resting: Resting[str] = Resting()


def adder(stream: Stream) -> ReactionToMany:
    """Return the function that adds events to a stream, in one round trip to Redis.

    The call refuses a transaction. Idempotent: by the key of the delivery, among the last `maxlen`; a replay adds anew.

    Outcomes of that function, by event id: None; `ReceiverAway` or `ReceiverRefused`, Retryable: Redis could not be
    reached, or did not take the event.
    """

    def add(received: Sequence[Received[Any]]) -> dict[UUID, object]:
        try:
            failures = _add(stream, received)
        except (ReceiverAway, ReceiverRefused) as error:
            return dict.fromkeys((each.event_id for each in received), error)
        return {
            each.event_id: failure and ReceiverRefused(f"Redis did not take it for {stream.key!r}: {failure}")
            for each, failure in zip(received, failures, strict=True)
        }

    return add


def _add(stream: Stream, received: Sequence[Received[Any]]) -> list[Exception | None]:
    """Add events in their order; return for each the exception, or None."""
    now = received[0].now
    _resting.refuse(stream.name, f"the Redis of {stream.name}", now)
    try:
        with _client(stream.url).pipeline(transaction=False) as pipeline:
            script = pipeline.register_script(_ADD)
            for each in received:
                token = each.idempotency_key
                script([stream.key, seen_key(stream.key)], [token, stream.maxlen, *_fields(each)], client=pipeline)
            answers = pipeline.execute(raise_on_error=False)
    except (NoConnection, NoAnswer) as error:
        _resting.note_away(stream.name, now)
        raise ReceiverAway(f"the Redis of {stream.name} gave no answer: {type(error).__name__}") from None
    except RedisError as error:
        raise ReceiverRefused(f"Redis did not take it for {stream.key!r}: {error}") from None
    _resting.note_there(stream.name)
    return [answer if isinstance(answer, Exception) else None for answer in answers]


def seen_key(key: str) -> str:
    """Return the key of the set of the latest keys; in a cluster it is on the node of the stream."""
    return f"{key}:seen" if "{" in key else f"{{{key}}}:seen"


def _fields(received: Received[Any]) -> list[str]:
    stored = received.stored
    body = json.dumps(cloudevents.envelope(stored), ensure_ascii=False, separators=(",", ":"))
    return ["id", str(stored.id), "type", stored.type, "key", stored.key, "event", body]


@cache
def _client(url: str) -> "Redis":
    return Redis.from_url(
        url,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        # Deliveries are retried by their own policy.
        retry=Retry(NoBackoff(), 0),
        health_check_interval=30,
    )
