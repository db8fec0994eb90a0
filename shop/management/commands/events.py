"""`manage.py events`: the contracts of events, their catalogue, and the document for machines."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sagas.db import clock
from sagas.log import catalogue

_TITLE = "The shop's events"
_DESCRIPTION = (
    "What happens in the shop, as CloudEvents 1.0. Every event comes at least once; be idempotent by its `id`. Events"
    " of one `partitionkey`, an order's id, come in order. Ignore fields you do not know."
)


class Command(BaseCommand):
    help = "Compare the contracts of events with the committed ones, commit new ones, write their catalogue."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        actions.add_parser("check", help="what breaks a contract, or is not committed; exit 1 if anything is")
        actions.add_parser("write", help="commit new versions that break no reader, under their contexts")
        actions.add_parser("catalogue", help="print docs/events.md: published events and their reactions")
        actions.add_parser("asyncapi", help="print docs/asyncapi.json: the same for machines")

    def handle(self, *, action: str, **_: Any) -> None:
        getattr(self, f"_{action}")()

    def _check(self) -> None:
        found = list(catalogue.complaints())
        for complaint in found:
            self.stderr.write(complaint.text)
        if found:
            raise CommandError(f"{len(found)} of the contracts do not hold.")
        self.stdout.write("All contracts hold.")

    def _write(self) -> None:
        for path in catalogue.write(today=clock.now().date().isoformat()):
            self.stdout.write(f"Written: {path}")
        self._check()

    def _catalogue(self) -> None:
        self.stdout.write(catalogue.page(), ending="")

    def _asyncapi(self) -> None:
        document = catalogue.asyncapi(title=_TITLE, description=_DESCRIPTION)
        self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False))
