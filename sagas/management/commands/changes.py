"""`manage.py changes`: writes the audit trail and invalidates caches, from the write-ahead log."""

from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...cdc import audit, follow
from ...cdc.errors import CannotFollow
from ...cdc.foreground import Foreground


class Command(BaseCommand):
    help = (
        "Follow PostgreSQL's write-ahead log until SIGTERM or Ctrl-C: keep the changes of watched tables, from any "
        "program, as an audit trail, and invalidate caches of them. A second process stands by. See docs/cdc.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--patient", action="store_true", help="where the database has to be set up first, say so and try again"
        )
        follow.add_arguments(parser, slot="sagas_changes")

    def handle(self, *_: Any, patient: bool, slot: str, drop_slot: bool, **__: Any) -> None:
        name = follow.checked(slot)
        if drop_slot:
            self.stdout.write(follow.drop(name))
            return
        process = Foreground()
        process.until_stopped()
        watch = partial(follow.follow, audit.slot(name), process, lambda capture: audit.Watcher(capture).work)
        if patient:
            follow.patiently(watch, process)
            return
        try:
            watch()
        except CannotFollow as error:
            raise CommandError(str(error)) from None
