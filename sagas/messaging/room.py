"""Back-pressure: under load the relay waits while messages are queued, and its next batch grows.

Without load an event does not wait. A backlog stays in the outbox, where interactive work is taken first, and not in
queues, where the sweep would consider its messages lost.
"""

import contextlib
import time
from typing import Any

from celery import current_app

from ..core import registry
from ..operations import queries

#: For this long after a turn of the relay that had work, the next turns check the queues first.
_BUSY_SECONDS = 1.0
_LOOK_SECONDS = 0.02


class Room:
    """The knowledge of one process about room in the queues.

    Attributes:
        wait_seconds: maximum seconds a turn waits until workers have taken every message. A queue without a worker
            delays the others by at most this in each turn.
    """

    wait_seconds = 1.0

    def __init__(self) -> None:
        self.busy_until = 0.0

    def note_sent(self) -> None:
        """Note that the relay had messages to send."""
        self.busy_until = time.monotonic() + _BUSY_SECONDS

    def wait(self) -> bool:
        """Wait while messages are queued; say whether there is room for low-priority work, too.

        Interactive work is not held back by low-priority messages, which it overtakes.
        """
        if time.monotonic() > self.busy_until:
            return True
        until = time.monotonic() + self.wait_seconds
        while time.monotonic() < until:
            first, behind = _messages_wait()
            if not first and not behind:
                return True
            if not first and queries.interactive_events_wait():
                return False
            time.sleep(_LOOK_SECONDS)
        return True


def _messages_wait() -> tuple[bool, bool]:
    """Say whether messages are in the queues that the relay fills: with the first priority, with a lower one."""
    queues = {step.queue for saga in registry.sagas() for step in saga.steps}
    # A reaction outside may wait for its receiver for hours: its queue does not show how busy the workers are.
    queues |= {subscription.queue for subscription in registry.subscriptions() if not subscription.outside}
    with contextlib.suppress(Exception):  # an error of the broker counts as empty queues
        pool: Any = current_app.producer_pool
        with pool.acquire(block=True, timeout=5) as producer:
            return messages_in(producer.channel, queues)
    return False, False


def messages_in(channel: Any, queues: set[str]) -> tuple[bool, bool]:
    """Say whether messages are in some of these queues: with the first priority, with a lower one."""
    if hasattr(channel, "priority_steps"):  # Redis: a list for each queue and priority, if not empty
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
