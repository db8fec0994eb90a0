"""Signs of life of workers."""

from typing import ClassVar

from django.db import models


class Heartbeat(models.Model):
    """The last time a worker served a queue."""

    queue = models.CharField(primary_key=True, max_length=100)
    #: When the open question was sent; empty if none is open.
    asked_at = models.DateTimeField(null=True, blank=True)
    alive_at = models.DateTimeField()

    objects: ClassVar[models.Manager["Heartbeat"]] = models.Manager()

    def __str__(self) -> str:
        return self.queue
