"""What a worker does with messages whose connection to the broker was lost."""

from typing import Any

import pytest
from redis import Redis

from shop.celery import app


@pytest.mark.parametrize("how", ["ack", "reject", "requeue"])
def test_a_task_may_end_when_the_connection_of_its_message_is_lost(redis: Redis, how: str) -> None:
    """The worker must not end with it; the message comes again after the visibility timeout."""
    connection = app.connection_for_read()
    queue = connection.SimpleQueue("parcels")
    queue.put("work")
    message: Any = queue.get(timeout=5)
    # So Kombu leaves a channel when it closes a connection that is lost.
    connection.transport.client = None
    message.channel.close()
    {"ack": message.ack, "reject": message.reject, "requeue": message.requeue}[how]()
    assert redis.hlen("unacked") == 1
    assert redis.zcard("unacked_index") == 1
