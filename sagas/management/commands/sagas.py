"""`manage.py sagas`: look at the processes from a terminal."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from ... import diagrams, registry, selectors
from ...checks import check_definitions
from ...errors import UnknownSagaError
from ...in_flight import faults_in_flight, how_many
from ...models import Run
from ...transitions import RunStatus


class Command(BaseCommand):
    """Reads only; what a person may change of a run comes with the work queue."""

    help = "List runs, show one with its steps, check the definitions, list findings, draw a saga."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        listing = actions.add_parser("list", help="the newest runs")
        listing.add_argument("--status", choices=[status.value for status in RunStatus])
        listing.add_argument("--saga")
        listing.add_argument("--limit", type=int, default=20)
        listing.add_argument("--json", action="store_true")
        show = actions.add_parser("show", help="one run with its steps and failed tries")
        show.add_argument("run", help="id of the run, or its key (an order's id)")
        show.add_argument("--json", action="store_true")
        check = actions.add_parser("check", help="what is wrong with the definitions; exit 1 if anything is")
        check.add_argument(
            "--in-flight", action="store_true", help="also the runs under way that this code could not continue"
        )
        check.add_argument("--json", action="store_true")
        findings = actions.add_parser("findings", help="what does not balance in the books")
        findings.add_argument("--json", action="store_true")
        diagram = actions.add_parser("diagram", help="a saga as Mermaid")
        diagram.add_argument("saga")
        diagram.add_argument("--kind", choices=["sequence", "state"], help="only one of the two")

    def handle(self, *_: Any, action: str, **options: Any) -> None:
        getattr(self, f"_{action}")(**options)

    def _list(self, status: str | None, saga: str | None, limit: int, json: bool, **_: Any) -> None:  # noqa: FBT001
        runs = Run.objects.order_by("-id")
        runs = runs.filter(status=status) if status else runs
        runs = runs.filter(saga=saga) if saga else runs
        found = [_of_run(run) for run in runs[:limit]]
        if json:
            self._write_json(found)
            return
        if not found:
            self.stdout.write("No runs.")
        for run in found:
            self.stdout.write(f"{run['id']}  {run['saga']}  {run['status']:<15}  {run['key']}  {run['why']}".rstrip())

    def _show(self, run: str, json: bool, **_: Any) -> None:  # noqa: FBT001
        found = Run.objects.filter(key=run).order_by("-id").first() or _by_id(run)
        if found is None:
            raise CommandError(f"There is no run with the id or key {run!r}; `manage.py sagas list` shows some.")
        shown = _of_run(found) | {"steps": [_of_step(found, row) for row in found.steps.order_by("place")]}
        if json:
            self._write_json(shown)
            return
        self.stdout.write(f"{shown['saga']} of {shown['key']}: {shown['status']} {shown['why']}".rstrip())
        for step in shown["steps"]:
            self.stdout.write(
                f"  {step['place']:>2}  {step['status']:<8}  {step['name']}  {step['result'] or ''}".rstrip()
            )
            for failed in step["failed_tries"]:
                self.stdout.write(f"        try {failed['number']}: {failed['kind']}: {failed['message']}")

    def _check(self, json: bool, in_flight: bool, **_: Any) -> None:  # noqa: FBT001
        wrong = [message.msg for message in check_definitions()]
        stranded = [asdict(fault) for fault in faults_in_flight()] if in_flight else []
        if json:
            self._write_json({"definitions": wrong, "in_flight": stranded})
        else:
            for fault in wrong:
                self.stdout.write(fault)
            for run in stranded:
                self.stdout.write(
                    f"run {run['run_id']} ({run['saga']} of {run['key']}, {run['status']}): {run['fault']}"
                )
            if not wrong:
                self.stdout.write(f"Definitions: {len(registry.sagas())}, without faults.")
            if in_flight and not stranded:
                self.stdout.write(f"Runs in flight: {how_many()}, all can go on with this code.")
        if wrong or stranded:
            raise SystemExit(1)

    def _findings(self, json: bool, **_: Any) -> None:  # noqa: FBT001
        columns = ("id", "check_name", "key", "message", "facts", "found_at", "last_seen_at")
        found = list(selectors.findings().values(*columns))
        if json:
            self._write_json(found)
        for finding in [] if json else found:
            self.stdout.write(f"{finding['found_at']:%Y-%m-%d %H:%M:%S}  {finding['check_name']}  {finding['message']}")
        if not found and not json:
            self.stdout.write("The books balance.")

    def _diagram(self, saga: str, kind: str | None, **_: Any) -> None:
        try:
            definition = registry.saga(saga)
        except UnknownSagaError as error:
            raise CommandError(str(error)) from None
        drawn = [diagrams.sequence(definition)] if kind != "state" else []
        drawn += [diagrams.states()] if kind != "sequence" else []
        self.stdout.write("\n\n".join(drawn))

    def _write_json(self, value: Any) -> None:
        self.stdout.write(json.dumps(value, indent=2, default=str))


def _by_id(text: str) -> Run | None:
    try:
        return Run.objects.filter(id=UUID(text)).first()
    except ValueError:
        return None


def _of_run(run: Run) -> dict[str, Any]:
    why = run.attention or run.failure
    return {
        "id": str(run.id),
        "saga": run.saga,
        "key": run.key,
        "status": run.status,
        "why": f"{why['step'] or 'deadline'}: {why['message']}" if why else "",
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "due_at": run.due_at,
    }


def _of_step(run: Run, row: Any) -> dict[str, Any]:
    tries = row.tries.order_by("number").values("number", "kind", "error", "message", "failed_at", "retry_at")
    return {
        "place": row.place,
        "name": row.name,
        "status": row.status,
        "attempts": row.attempts,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "result": run.results.get(row.name),
        "failed_tries": list(tries),
    }
