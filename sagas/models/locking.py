"""Row locks, always taken in the order of the primary key, so that no deadlock can happen."""

from typing import TypeVar

from django.db import models

_Model = TypeVar("_Model", bound=models.Model)


class LockableQuerySet(models.QuerySet[_Model]):
    """Rows that several workers may lock at once."""

    def claimed(self) -> "LockableQuerySet[_Model]":
        """Lock the rows that no other transaction has locked (SKIP LOCKED), always in the order of the primary key."""
        return self.order_by("pk").select_for_update(no_key=True, skip_locked=True, of=("self",))

    def locked(self) -> "LockableQuerySet[_Model]":
        """Lock all rows, waiting for locks of other transactions, always in the order of the primary key."""
        return self.order_by("pk").select_for_update(no_key=True, of=("self",))
