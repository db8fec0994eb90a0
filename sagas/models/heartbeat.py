"""Signs of life of workers."""

from typing import ClassVar

from django.db import models


class Heartbeat(models.Model):
    """When a worker last served a queue."""

    queue = models.CharField(primary_key=True, max_length=100)
    #: When the question was sent that is not answered yet.
    asked_at = models.DateTimeField(null=True, blank=True)
    alive_at = models.DateTimeField()

    objects: ClassVar[models.Manager["Heartbeat"]] = models.Manager()

    def __str__(self) -> str:
        return self.queue
