from typing import ClassVar

from django.db import models


class Entry(models.Model):
    """What was done for a trip, in order."""

    trip = models.CharField(max_length=100)
    what = models.CharField(max_length=100)

    objects: ClassVar[models.Manager["Entry"]] = models.Manager()

    class Meta:
        app_label = "trips"
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return f"{self.what} for {self.trip}"
