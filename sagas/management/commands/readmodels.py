"""`manage.py readmodels`: lists read models, and rebuilds one from the log while the old copy serves."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from ...cli.progress_bar import progress
from ...core import registry
from ...core.read_model import ReadModel
from ...db import clock
from ...log import rebuild
from ...log.read_models import PORTION
from ...operations import queries


class Command(BaseCommand):
    """Prints; the work is done by `sagas.log.rebuild`."""

    help = "List the read models, or rebuild one from the event log while the old one serves."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        actions.add_parser("list", help="the read models, and how far each is behind")
        build = actions.add_parser(
            "rebuild", help="build NAME anew from the log, compare it with the old one, let it take its place"
        )
        build.add_argument("name", choices=[model.name for model in registry.read_models()])
        build.add_argument("--compare", action="store_true", help="only compare: the old one stays")
        build.add_argument("--anew", action="store_true", help="do not go on with a rebuild that was stopped")
        build.add_argument("--forget", action="store_true", help="only forget a rebuild that was stopped")
        build.add_argument("--portion", type=int, default=PORTION, help="events of one transaction")

    def handle(self, *_: Any, action: str, **options: Any) -> None:
        if action == "list":
            self._list()
        else:
            self._rebuild(**options)

    def _list(self) -> None:
        known = {model.name for model in registry.read_models()}
        for lag in queries.followers(now=clock.now()):
            if lag.name.split(":")[0] in known:
                self.stdout.write(f"{lag.name:<28}  {lag.status:<12}  {lag.figures}")

    def _rebuild(self, name: str, **options: Any) -> None:
        model = registry.read_model(name)
        if model is None or options["portion"] < 1:
            raise CommandError("--portion is a number of events, 1 at least.")
        try:
            if options["anew"] or options["forget"]:
                rebuild.drop(model)
            if options["forget"]:
                self.stdout.write(f"Nothing is left of a rebuild of {name}; what serves stays.")
            else:
                self._build(model, portion=options["portion"], swap=not options["compare"])
        except (rebuild.RebuildStoppedError, rebuild.StoreAwayError) as stopped:
            raise CommandError(str(stopped)) from None
        except OperationalError as error:
            raise CommandError(f"{str(error).strip()}. Nothing is lost: the same command goes on.") from None

    def _build(self, model: ReadModel, *, portion: int, swap: bool) -> None:
        done, total = rebuild.start(model, now=clock.now())
        if done:
            self.stdout.write(f"Going on at {done:,}, where the last rebuild stopped.")
        with progress(f"Rebuild of {model.name}", total, self.stdout.write) as show:
            while (position := rebuild.go_on(model, limit=portion)) is not None:
                show(position, f"{position:,} events")
        found = rebuild.finish(model, swap=swap)
        for table, (only_old, only_new) in found.differences.items():
            same = not (only_old or only_new)
            said = "the same" if same else f"{only_old:,} only in the old copy, {only_new:,} only in the new one"
            self.stdout.write(f"{table}: {said}")
        took = "has taken the place of the old one" if found.swapped else "was compared, the old one stays"
        self.stdout.write(f"{model.name}, rebuilt from {found.position:,} events, {took}.")
