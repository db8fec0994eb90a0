"""`manage.py sagas`: shows the processes at a terminal, and acts on those that need a person."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...cli import listings, operate
from ...core import diagrams, registry
from ...core.errors import UnknownSagaError
from ...core.statuses import OPEN_RUNS, Action, RunStatus
from ...db import clock
from ...models import Run
from ...operations import queries, subjects
from ...operations.deliveries import DeliverySubject
from ...operations.runs import RunSubject
from ...operations.stranded_runs import faults_in_flight, how_many
from ...operations.summary import Summary
from ...operations.system_checks import check_definitions
from ...operations.work_queue import WAITING


class Command(BaseCommand):
    """Parses arguments and prints; the lists are in `sagas.cli.listings`, the actions in `sagas.cli.operate`."""

    help = (
        "List runs, show one with its steps, check the definitions, list findings, draw a saga; show what needs a "
        "person, and how far subscriptions are; retry, skip, undo, cancel, pause, resume or replay. Exit 1 if "
        "something was refused."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        listing = actions.add_parser("list", help="the newest runs")
        listing.add_argument("--status", choices=[status.value for status in RunStatus])
        listing.add_argument("--saga")
        listing.add_argument("--limit", type=int, default=20)
        listing.add_argument("--json", action="store_true")
        show = actions.add_parser("show", help="one run with its steps and failed tries")
        show.add_argument("run", help=f"id of the run, its key, or what people call the key{registry.key_example()}")
        show.add_argument("--json", action="store_true")
        check = actions.add_parser("check", help="what is wrong with the definitions; exit 1 if anything is")
        check.add_argument(
            "--in-flight", action="store_true", help="also the runs under way that this code could not continue"
        )
        check.add_argument("--json", action="store_true")
        findings = actions.add_parser("findings", help="what does not balance in the books")
        findings.add_argument("--json", action="store_true")
        following = actions.add_parser("followers", help="who follows the event log, and how far each is behind")
        following.add_argument("--json", action="store_true")
        diagram = actions.add_parser("diagram", help="a saga as Mermaid")
        diagram.add_argument("saga")
        diagram.add_argument("--kind", choices=["sequence", "state"], help="only one of the two")

        queue = actions.add_parser("queue", help="what needs a person, the longest waiting first")
        queue.add_argument("--limit", type=int, default=50)
        queue.add_argument("--json", action="store_true")
        for action in subjects.actions():
            if action == Action.REPLAY:
                self._add_replay(actions)
            else:
                self._add_action(actions, action)

    def _add_action(self, actions: Any, action: Action) -> None:
        parser = actions.add_parser(str(action), help=_description(action), description=_description(action))
        parser.add_argument("run", nargs="?", default="", metavar="RUN", help=f"id, key{registry.key_example()}")
        self._add_why(parser)
        kinds = subjects.with_action(action)
        if any(operation.wants_result for _, operation in kinds):
            parser.add_argument("--result", default="", help="what later steps find as its result, a JSON object")
        parser.add_argument("--all", action="store_true", help="all open runs that match the filters, instead of RUN")
        parser.add_argument("--status", choices=[status.value for status in OPEN_RUNS])
        parser.add_argument("--saga", choices=registry.names() or None)
        parser.add_argument("--step", help="where the run stands")
        parser.add_argument("--error", help="name of the exception, such as TimeoutError")
        for kind, _ in kinds:
            if kind.option:
                parser.add_argument(kind.option, dest=f"one_{kind.kind}", metavar=kind.metavar, help=f"one {kind.kind}")
            if kind is DeliverySubject:
                parser.add_argument("--parked", metavar="SUBSCRIPTION", help="all its parked deliveries")
        parser.add_argument("--yes", action="store_true", help="do not ask whether all are meant")

    def _add_replay(self, actions: Any) -> None:
        parser = actions.add_parser("replay", help=_description(Action.REPLAY), description=_description(Action.REPLAY))
        parser.add_argument("--subscription", metavar="NAME", required=True)
        parser.add_argument("--since", metavar="MOMENT", required=True, help="with its time zone: 2026-01-31T14:00Z")
        parser.add_argument("--until", metavar="MOMENT", default="", help="before which; now unless told otherwise")
        self._add_why(parser)

    def _add_why(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reason", default="", help="why, for the next person who looks at it; always needed")
        parser.add_argument("--by", default="", help="who wants it (the user of this terminal)")

    def handle(self, *_: Any, action: str, **options: Any) -> None:
        if action in subjects.actions() and action != Action.REPLAY:
            self._act(Action(action), **options)
        else:
            getattr(self, f"_{action}")(**options)

    def _act(self, action: Action, *, run: str, parked: str | None = None, **options: Any) -> None:
        named = {name.removeprefix("one_"): options[name] for name in options if name.startswith("one_")}
        meant_ones = [(kind, name) for kind, name in {RunSubject.kind: run, **named}.items() if name]
        if len(meant_ones) + options["all"] + (parked is not None) != 1:
            raise CommandError(f"Say what to {action}: one RUN, or --all with filters{_or(action)}.")
        kind, name = meant_ones[0] if meant_ones else ("", "")
        narrowing = {name: options[name] for name in ("status", "saga", "step", "error")}
        meant = operate.filter_of_runs(**narrowing) if options["all"] else None
        if parked is not None:
            meant = operate.filter_of_deliveries(parked, options["error"])
        elif not options["all"] and any(narrowing.values()):
            raise CommandError("--status, --saga, --step and --error narrow --all; with one RUN they mean nothing.")
        command = operate.Command(
            action=action,
            kind=kind,
            name=name,
            meant=meant,
            reason=options["reason"],
            by=options["by"],
            result=options.get("result", ""),
            yes=options["yes"],
        )
        if operate.execute(command, self.stdout.write):
            raise SystemExit(1)

    def _replay(self, subscription: str, since: str, until: str, reason: str, by: str, **_: Any) -> None:
        operate.replay(subscription, since=since, until=until, reason=reason, by=by, say=self.stdout.write)

    def _queue(self, limit: int, json: bool, **_: Any) -> None:  # noqa: FBT001
        waiting, findings = listings.waiting(WAITING, limit), self._open_findings(limit)
        if json:
            found = [{"kind": "finding"} | finding for finding in findings]
            self._write_json([*found, *(listings.as_json(summary) for summary in waiting)])
            return
        still = list(listings.standing_still())
        for said in still:
            self.stdout.write(said)
        for finding in findings:
            self._write_finding(finding)
        for summary in waiting:
            self._write_waiting(summary)
        if not waiting and not findings and not still:
            self.stdout.write("Nothing needs a person.")

    def _write_waiting(self, waits: Summary) -> None:
        at = f" at {waits.step}" if waits.step else ""
        what = waits.pk if waits.kind == RunSubject.kind else f"{waits.kind} {waits.pk}"
        self.stdout.write(f"{waits.title}: {waits.process}{at} ({what})")
        if waits.paused:
            self.stdout.write(f"    paused by {waits.paused}")
        if waits.error:
            self.stdout.write(f"    {waits.error}: {waits.message}")
        tries = "1 try" if waits.tries == 1 else f"{waits.tries} tries"
        self.stdout.write(
            f"    {waits.error_kind or 'error'}, {tries}, since {_moment(waits.since)}; {', '.join(waits.actions)}"
        )

    def _list(self, status: str | None, saga: str | None, limit: int, json: bool, **_: Any) -> None:  # noqa: FBT001
        runs = Run.objects.order_by("-id")
        runs = runs.filter(status=status) if status else runs
        runs = runs.filter(saga=saga) if saga else runs
        found = listings.runs(list(runs[:limit]))
        if json:
            self._write_json(found)
            return
        if not found:
            self.stdout.write("No runs.")
        columns = {
            "called": "CALLED",
            "saga": "SAGA",
            "status": "STATUS",
            "started": "STARTED",
            "id": "RUN",
            "why": "WHY",
        }
        rows = [columns, *({**run, "started": _moment(run["started_at"])} for run in found)] if found else []
        widths = {name: max(len(str(row[name])) for row in rows) for name in columns} if rows else {}
        for row in rows:
            self.stdout.write("  ".join(f"{row[name]:<{width}}" for name, width in widths.items()).rstrip())

    def _show(self, run: str, json: bool, **_: Any) -> None:  # noqa: FBT001
        found = RunSubject.find(run)
        if found is None:
            self._show_reactions(run, json=json)
            return
        shown = listings.run_with_steps(found)
        if json:
            self._write_json(shown)
            return
        self.stdout.write(f"{shown['saga']} of {shown['called']}: {shown['status']} {shown['why']}".rstrip())
        for step in shown["steps"]:
            self.stdout.write(
                f"  {step['place']:>2}  {step['status']:<8}  {step['name']}  {step['result'] or ''}".rstrip()
            )
            if step["skipped_by"]:
                self.stdout.write(f"        taken as done by {step['skipped_by']}: {step['skipped_because']}")
            for failed in step["failed_tries"]:
                self.stdout.write(f"        try {failed['number']}: {failed['kind']}: {failed['message']}")

    def _show_reactions(self, text: str, *, json: bool) -> None:
        """Show the reactions to the events of a key that has no run."""
        found = listings.reactions_of(text)
        if json:
            self._write_json(found)
            return
        self.stdout.write(f"No run conducts {text}; what reacted to its events:")
        for each in found:
            why = f"  {each['error']}" if each["error"] else ""
            self.stdout.write(f"  {each['status']:<8}  {each['subscription']}  on {each['event_type']}{why}")

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
        found = self._open_findings()
        if json:
            self._write_json(found)
            return
        for finding in found:
            self._write_finding(finding)
        if not found:
            self.stdout.write("The books balance.")

    def _open_findings(self, limit: int | None = None) -> list[dict[str, Any]]:
        columns = ("id", "check_name", "key", "message", "facts", "found_at", "last_seen_at")
        return [dict(finding) for finding in queries.findings().values(*columns)[:limit]]

    def _write_finding(self, finding: dict[str, Any]) -> None:
        self.stdout.write(f"{_moment(finding['found_at'])}  {finding['check_name']}  {finding['message']}")
        check = registry.check(finding["check_name"])
        if check is not None and check.remedy:
            self.stdout.write(f"    {check.remedy}")

    def _followers(self, json: bool, **_: Any) -> None:  # noqa: FBT001
        found = queries.followers(now=clock.now())
        if json:
            self._write_json([asdict(lag) for lag in found])
            return
        for lag in found:
            self.stdout.write(f"{lag.name:<28}  {lag.status:<18}  {lag.figures}")
        if not found:
            self.stdout.write("The log has no follower yet; `manage.py migrate` creates those of the subscriptions.")

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


def _description(action: Action) -> str:
    """Return the description of an action on a run, or on the first kind it applies to."""
    (_, text), *_others = subjects.describe(action, subjects.KINDS)
    return text


def _or(action: Action) -> str:
    """Return the other ways to name a subject, for an error message."""
    kinds = [kind for kind, _ in subjects.with_action(action)]
    options = [kind.option for kind in kinds if kind.option] + (["--parked"] if DeliverySubject in kinds else [])
    return f", {', '.join(options[:-1])} or {options[-1]}".replace(",  or", ", or") if options else ""


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"
