"""`manage.py relay`: the relay and the sweep as one process, driven by the write-ahead log."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...cdc import follow, wal_relay
from ...cdc.errors import CannotFollow
from ...cdc.foreground import Foreground


class Command(BaseCommand):
    help = (
        "Relay new events as soon as PostgreSQL's write-ahead log tells of them, and sweep, until SIGTERM or Ctrl-C. "
        "Needs wal_level = logical. Celery's relay may run beside it. A second process on one slot stands by. "
        "See docs/cdc.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        follow.add_arguments(parser, slot="sagas_outbox")

    def handle(self, *_: Any, slot: str, drop_slot: bool, **__: Any) -> None:
        name = follow.checked(slot)
        if drop_slot:
            self.stdout.write(follow.drop(name))
            return
        process = Foreground()
        process.until_stopped()
        try:
            follow.follow(wal_relay.slot(name), process, lambda capture: wal_relay.WalRelay(capture).work)
        except CannotFollow as error:
            raise CommandError(str(error)) from None
