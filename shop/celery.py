"""The Celery application: `celery -A shop worker`, `celery -A shop beat`."""

import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from celery.schedules import crontab
from celery.signals import beat_init, celeryd_init, task_failure, task_prerun
from django.db import DatabaseError, close_old_connections, connections
from kombu.transport.redis import Channel, QoS

import embedded
from sagas.messaging.schedule import beat_schedule

logger = structlog.get_logger(__name__)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

_started_at, _started = datetime.now(UTC), time.monotonic()


def steady_now() -> datetime:
    """Return the time of a clock that cannot be set: if beat's own clock is set back, beat stops for that long."""
    return _started_at + timedelta(seconds=time.monotonic() - _started)


app.conf.beat_schedule = {
    **beat_schedule(steady_now),
    # Celery's own entry, which deletes old results, by the same clock.
    "celery.backend_cleanup": {
        "task": "celery.backend_cleanup", "schedule": crontab(minute="0", hour="4", nowfun=steady_now)
    },
}  # fmt: skip


@celeryd_init.connect
@beat_init.connect
def start_embedded_servers(**_: Any) -> None:
    embedded.ensure()


class PatientQoS(QoS):
    """Leaves messages of a lost connection to the visibility timeout.

    Kombu 5.7 closes the channel of a lost connection by restoring unacknowledged messages over that same connection,
    and opens a client for a closed channel to acknowledge a child's finished message. The worker ends with either.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message, unless its channel is closed: then it was restored, or will be."""
        if not self.channel.closed:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - Kombu's signature
        """Reject a message, unless its channel is closed."""
        if not self.channel.closed:
            super().reject(delivery_tag, requeue)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Restore unacknowledged messages once, if the broker answers."""
        try:
            super().restore_unacked_once(stderr)
        except Exception as error:  # noqa: BLE001 - a broken connection may raise anything
            delivered: Any = self._delivered
            logger.warning("messages_not_given_back", error=str(error), messages=len(delivered))
            delivered.clear()


Channel.QoS = PatientQoS


@task_prerun.connect
def drop_stale_connections(**_: Any) -> None:
    """Apply CONN_MAX_AGE and CONN_HEALTH_CHECKS, which the Celery fixup no longer does (decision 0005)."""
    close_old_connections()


@task_failure.connect
def drop_interrupted_connections(exception: BaseException | None = None, **_: Any) -> None:
    """Close the connection after an interrupted query: it looks usable and is not (Django #30646)."""
    if isinstance(exception, SoftTimeLimitExceeded | DatabaseError):
        connections.close_all()


#: Routing key of the probe. `outward.receivers` refuses streams with such names.
_PROBE_QUEUE = "_kombu.probe"


def try_broker() -> None:
    """Send a message that no worker reads, to check that the broker takes it; raise its error after about a second.

    A broker that answers may still refuse every message: its memory is full, or it has become a replica.
    """
    options = app.conf.broker_transport_options | {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0}
    options["confirm_publish"] = True  # without it RabbitMQ does not report the refusal
    with app.connection_for_write(connect_timeout=1, transport_options=options) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        with app.amqp.Producer(connection, auto_declare=False) as producer:
            # To the default exchange: RabbitMQ drops the message, because there is no such queue. Redis makes the
            # queue.
            producer.publish("", exchange="", routing_key=_PROBE_QUEUE, retry=False)
            if isinstance(producer.channel, Channel):
                producer.channel.queue_purge(_PROBE_QUEUE)
