"""`manage.py relay`: the relay and the sweep as a process of their own, by polling or from the write-ahead log."""

import re
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from ... import tasks
from ...cdc import outbox, slots
from ...cdc.errors import CannotFollow
from ...foreground import Foreground

#: Without the write-ahead log, how often the outbox is asked.
_POLL_SECONDS = 1.0
SLOT = "sagas_outbox"


class Command(BaseCommand):
    help = (
        "Relay new events and sweep until SIGTERM or Ctrl-C: by asking the outbox each second or, with --follow-wal, "
        "as soon as PostgreSQL's write-ahead log tells of them. Any number of relays may run, Celery's beside it. "
        "A second process on one slot stands by. See docs/cdc.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--follow-wal", action="store_true", help="needs wal_level = logical; makes what is missing"
        )
        parser.add_argument("--slot", default=SLOT, help=f"name of replication slot and publication ({SLOT})")
        parser.add_argument(
            "--drop-slot",
            action="store_true",
            help="let go of the write-ahead log, and end: without a reader it piles up",
        )

    def handle(self, *_: Any, follow_wal: bool, slot: str, drop_slot: bool, **__: Any) -> None:
        if not re.fullmatch("[a-z0-9_]{1,63}", slot):
            raise CommandError(f"{slot!r} is no name of a slot: small letters, digits and underscores, 63 at most.")
        if drop_slot:
            self._drop(slot)
            return
        process = Foreground()
        process.until_stopped()
        if not follow_wal:
            process.through_outages(lambda: _poll(process))
            return
        try:
            outbox.follow(outbox.slot(slot), process)
        except CannotFollow as error:
            raise CommandError(str(error)) from None

    def _drop(self, slot: str) -> None:
        try:
            dropped = slots.drop(slot)
        except OperationalError as error:
            raise CommandError(f"{str(error).strip()}: stop the process that follows it first.") from None
        self.stdout.write(f"The slot {slot} is dropped." if dropped else f"There is no slot {slot}.")


def _poll(process: Foreground) -> None:
    if not tasks.relay_turn().more:
        process.rest(_POLL_SECONDS)
