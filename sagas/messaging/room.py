"""Back-pressure: under load the relay lets its next batch grow while messages stand in line.

So an event does not wait at rest, and a backlog stands in the outbox, where interactive work is taken first, instead
of in queues, where the sweep would take its messages for lost.
"""

import contextlib
import time
from typing import Any

from celery import current_app

from ..core import registry
from ..operations import queries

#: For so long after a turn of the relay that had something to do, the next ones look for room first.
_BUSY_SECONDS = 1.0
_LOOK_SECONDS = 0.02


class Room:
    """What one process knows of the room in the queues.

    Attributes:
        wait_seconds: most seconds a turn waits until every message is in a worker's hand. A queue without a worker
            holds up the others by this much a turn at most.
    """

    wait_seconds = 1.0

    def __init__(self) -> None:
        self.busy_until = 0.0

    def note_sent(self) -> None:
        """Note that the relay had something to send."""
        self.busy_until = time.monotonic() + _BUSY_SECONDS

    def wait(self) -> bool:
        """Wait while messages stand in line; say whether there is room for low-priority work, too.

        Interactive work is not held back by low-priority messages, which it overtakes.
        """
        if time.monotonic() > self.busy_until:
            return True
        until = time.monotonic() + self.wait_seconds
        while time.monotonic() < until:
            first, behind = _messages_wait()
            if not first and not behind:
                return True
            if not first and queries.somebody_waits_for_the_relay():
                return False
            time.sleep(_LOOK_SECONDS)
        return True


def _messages_wait() -> tuple[bool, bool]:
    """Say whether messages stand in the queues that the relay fills: with the first priority, with a lower one."""
    queues = {step.queue for saga in registry.sagas() for step in saga.steps}
    # A reaction outside may wait for its receiver for hours: that does not tell how busy the workers are.
    queues |= {subscription.queue for subscription in registry.subscriptions() if not subscription.outside}
    with contextlib.suppress(Exception):  # whatever the broker says: then no message stands in line
        pool: Any = current_app.producer_pool
        with pool.acquire(block=True, timeout=5) as producer:
            return messages_in(producer.channel, queues)
    return False, False


def messages_in(channel: Any, queues: set[str]) -> tuple[bool, bool]:
    """Say whether messages stand in some of these queues: with the first priority, with a lower one."""
    if hasattr(channel, "priority_steps"):  # Redis: a list a queue and priority, there while something is in it
        steps = [f"{channel.sep}{step}" for step in channel.priority_steps if step]
        pipe = channel.client.pipeline(transaction=False)
        pipe.exists(*queues)
        pipe.exists(*(queue + step for queue in queues for step in steps))
        first, behind = pipe.execute()
        return bool(first), bool(behind)
    for queue in sorted(queues):
        with contextlib.suppress(*channel.connection.client.channel_errors):  # the queue was never used
            if channel.queue_declare(queue, passive=True).message_count:
                return True, False
    return False, False
