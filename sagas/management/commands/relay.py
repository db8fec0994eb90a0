"""`manage.py relay`: the relay and the sweep as a process of their own, told by the write-ahead log."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...cdc import following, outbox
from ...cdc.errors import CannotFollow
from ...foreground import Foreground


class Command(BaseCommand):
    help = (
        "Relay new events as soon as PostgreSQL's write-ahead log tells of them, and sweep, until SIGTERM or Ctrl-C. "
        "Needs wal_level = logical. Celery's relay may run beside it. A second process on one slot stands by. "
        "See docs/cdc.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        following.add_arguments(parser, slot="sagas_outbox")

    def handle(self, *_: Any, slot: str, drop_slot: bool, **__: Any) -> None:
        name = following.checked(slot)
        if drop_slot:
            self.stdout.write(following.drop(name))
            return
        process = Foreground()
        process.until_stopped()
        try:
            following.follow(outbox.slot(name), process, lambda capture: outbox.WalRelay(capture).work)
        except CannotFollow as error:
            raise CommandError(str(error)) from None
