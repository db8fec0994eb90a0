"""Redis Streams: an event as an entry, added once however often it is tried.

Note [Once a stream]: next to the stream stands a set of what was added lately, as many as the stream keeps entries; a
script looks into it and adds to both, and nothing comes in between. So a worker that died before it noted its success,
or was frozen and woke up when another had done its work, changes nothing: not what is in the stream, and not its order.
An id of our own (`<log_position>-0`) would not do: deliveries are in order per key only, and XADD refuses what is
lower than the last one.
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
    """Return what adds events to a stream, in one exchange with Redis.

    The call refuses a transaction. Idempotent: by the key of the delivery, among the last `maxlen`; a replay adds anew.

    Outcomes (of what it returns), by event id: None; `ReceiverAway` or `ReceiverRefused`, Retryable, Redis was not to
    be reached, or did not take it.
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
    """Add events in their order; return of each why it was not."""
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
    """Return the key of what was added lately; in a cluster it stands beside the stream."""
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
        # Deliveries are tried again by their own policy.
        retry=Retry(NoBackoff(), 0),
        health_check_interval=30,
    )
