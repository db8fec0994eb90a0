"""The simulated broker of the test kit publishes what `sagas.tasks` puts on Redis."""

import base64
import json
from typing import Any

from django.utils import timezone
from redis import Redis

from sagas.engine import undo
from sagas.engine.wake_ups import WakeUp
from sagas.log.relay import relay_events
from sagas.messaging.publish import send
from sagas.models import Run
from sagas.testing import Broker, ChainMessage, ErrorMessage
from tests.factories.orders import Place


def on_redis(redis: Redis, queue: str) -> list[dict[str, Any]]:
    """Return the messages on a queue: task, arguments, the rest of the chain, the error callback."""
    found = []
    for raw in redis.lrange(queue, 0, -1):
        message = json.loads(raw)
        arguments, _, embedded = json.loads(base64.b64decode(message["body"]))
        found.append(
            {
                "task": message["headers"]["task"],
                "arguments": arguments,
                "rest": [step["task"] for step in reversed(embedded["chain"] or [])],
                "on_error": [callback["task"] for callback in embedded["errbacks"] or []],
            }
        )
    return found


def simulated(wake_up: WakeUp) -> dict[str, Any]:
    """Return the same of the first message the simulated broker holds."""
    broker = Broker()
    broker.send([wake_up])
    (message,) = broker.waiting
    body = message.body
    assert isinstance(body, ChainMessage)
    rest, following = [], body.following
    while following is not None:
        rest.append(following.name)
        following = following.following
    return {
        "task": body.name,
        "arguments": [[str(run_id) for run_id in wake_up.run_ids], body.task.place, wake_up.epoch],
        "rest": rest,
        "on_error": [ErrorMessage(wake_up=wake_up).name],
    }


def test_a_chain_of_the_kit_is_a_chain_of_celery(place: Place, redis: Redis) -> None:
    place()
    (wake_up,) = relay_events(now=timezone.now(), limit=10).wake_ups
    send([wake_up])
    assert on_redis(redis, "inventory") == [simulated(wake_up)]
    assert simulated(wake_up)["rest"][0] == "payments.capture_payment"


def test_an_undo_of_the_kit_is_an_undo_of_celery(place: Place, redis: Redis) -> None:
    place()
    (forward,) = relay_events(now=timezone.now(), limit=10).wake_ups
    Run.objects.update(failure={"step": "", "kind": "rejected", "error": "No", "message": "no"})
    (back,) = undo.start_undo(run_ids=forward.run_ids, epoch=1, now=timezone.now())
    send([back])
    assert on_redis(redis, "orders") == [simulated(back)]
    assert simulated(back)["on_error"] == ["sagas.undo"]
