"""`manage.py relay`: the relay and the sweep as a process of their own, by polling or from the write-ahead log."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...cdc import follow, wal_relay
from ...cdc.errors import CannotFollow
from ...cdc.foreground import Foreground
from ...messaging import tasks

#: Without the write-ahead log, how often the outbox is asked.
_POLL_SECONDS = 1.0


class Command(BaseCommand):
    help = (
        "Relay new events and sweep until SIGTERM or Ctrl-C: by asking the outbox each second or, with --follow-wal, "
        "as soon as PostgreSQL's write-ahead log tells of them. Any number of relays may run, Celery's beside it. "
        "A second process on one slot stands by. See docs/cdc.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--follow-wal", action="store_true", help="needs wal_level = logical")
        follow.add_arguments(parser, slot="sagas_outbox")

    def handle(self, *_: Any, follow_wal: bool, slot: str, drop_slot: bool, **__: Any) -> None:
        name = follow.checked(slot)
        if drop_slot:
            self.stdout.write(follow.drop(name))
            return
        process = Foreground()
        process.until_stopped()
        if not follow_wal:
            process.through_outages(lambda: _poll(process))
            return
        try:
            follow.follow(wal_relay.slot(name), process, lambda capture: wal_relay.WalRelay(capture).work)
        except CannotFollow as error:
            raise CommandError(str(error)) from None


def _poll(process: Foreground) -> None:
    if not tasks.relay_turn().more:
        process.rest(_POLL_SECONDS)
