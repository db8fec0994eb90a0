"""The tables of the engine, by subject."""

from .attempt import Attempt
from .audit import AuditRecord
from .books import Finding, Reconciliation
from .delivery import Delivery
from .heartbeat import Heartbeat
from .intervention import Intervention
from .journal import Run, StepRun
from .locking import LockableQuerySet
from .log import Event, Follower, Snapshot

__all__ = [
    "Attempt",
    "AuditRecord",
    "Delivery",
    "Event",
    "Finding",
    "Follower",
    "Heartbeat",
    "Intervention",
    "LockableQuerySet",
    "Reconciliation",
    "Run",
    "Snapshot",
    "StepRun",
]
