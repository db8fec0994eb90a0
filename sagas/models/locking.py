"""Row locks, always taken in the order of the primary key, so that two workers cannot wait for each other."""

from typing import TypeVar

from django.db import models

_Model = TypeVar("_Model", bound=models.Model)


class LockableQuerySet(models.QuerySet[_Model]):
    """Rows that several workers may want at once."""

    def claimed(self) -> "LockableQuerySet[_Model]":
        """Lock what nobody else holds, always in the order of the primary key."""
        return self.order_by("pk").select_for_update(no_key=True, skip_locked=True, of=("self",))

    def locked(self) -> "LockableQuerySet[_Model]":
        """Lock, waiting for whoever holds it, always in the order of the primary key."""
        return self.order_by("pk").select_for_update(no_key=True, of=("self",))
