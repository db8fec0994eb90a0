"""The engine's promises: what must hold for every run when it has ended, whatever faults it had."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from django.db.models import Q

from ..core.saga import Saga, Step
from ..core.statuses import DeliveryStatus, RowAction, RunStatus, StepStatus
from ..models import Attempt, Delivery, Run, StepRun
from .boundaries import Acted
from .paths import Path


def journal_of(key: str) -> list[Any]:
    """Return every row of the engine for `key`, as values that can be compared."""
    return [
        list(Run.objects.filter(key=key).order_by("id").values()),
        list(StepRun.objects.filter(run__key=key).order_by("run", "place").values()),
        list(Attempt.objects.filter(Q(step__run__key=key) | Q(delivery__key=key)).order_by("id").values()),
        list(Delivery.objects.filter(key=key).order_by("id").values()),
    ]


def check(saga: Saga[Any], run: Run, *, path: Path, acted: Sequence[Acted]) -> None:
    """Check a run without remaining work.

    Raises:
        AssertionError: one of the promises was broken.
    """
    rows = list(run.steps.order_by("place"))
    calls: dict[tuple[str, str], list[Acted]] = defaultdict(list)
    for act in acted:
        calls[act.name, act.kind].append(act)
    _has_ended(saga, run, rows, path)
    _statuses_agree(saga, run, rows)
    _nothing_is_owed(run)
    for row in rows:
        _effect_is_journalled(saga.step(row.step), row, calls)
    for step in (*saga.steps, *saga.after_undo):
        keys = {act.key for kind in ("run", "undo", "probe") for act in calls[step.name, kind]}
        _must(len(keys) <= 1, f"{step.name} was called with more than one key: {sorted(keys)}")
        if step.outside and step.probe is not None:
            _asked_before_it_was_called_again(step.name, acted)
    _went_forward_then_back(saga, run, acted)


def _must(condition: bool, message: str) -> None:  # noqa: FBT001 - it is what is judged
    if not condition:
        raise AssertionError(message)


def _has_ended(saga: Saga[Any], run: Run, rows: Sequence[StepRun], path: Path) -> None:
    allowed = {path.ends}
    # A crash costs a try, and a definition may allow only one: then giving up is right, and the journal has the reason.
    for why, status in ((run.failure, RunStatus.UNDONE), (run.attention, RunStatus.NEEDS_ATTENTION)):
        if why is not None and (why["error"] == "DeadlinePassed" or _is_used_up(saga, rows, why["step"])):
            allowed.add(status)
    _must(
        RunStatus(run.status) in allowed,
        f"the run is {run.status}, not {path.ends}; failure: {run.failure}, attention: {run.attention}",
    )


def _is_used_up(saga: Saga[Any], rows: Sequence[StepRun], name: str) -> bool:
    row = next(row for row in rows if row.name == name)
    step = saga.step(row.step)
    retry = step.undo_retry if row.action == RowAction.UNDO else step.retry
    return not retry.allows(row.attempts)


def _statuses_agree(saga: Saga[Any], run: Run, rows: Sequence[StepRun]) -> None:
    event = saga.input.read(run.input, version=run.input_version)
    undone = {row.step for row in rows if row.action == RowAction.UNDO and row.status == StepStatus.DONE}
    forward = {step.name for step in saga.steps}
    for row in rows:
        step = saga.step(row.step)
        if step.when is not None and not step.when(event):
            allowed = {StepStatus.SKIPPED}
        elif run.status == RunStatus.NEEDS_ATTENTION:
            continue
        elif run.status == RunStatus.COMPLETED or row.action == RowAction.UNDO or row.name not in forward:
            allowed = {StepStatus.DONE}
        else:
            allowed = {StepStatus.UNDONE} if row.name in undone else {StepStatus.FAILED, StepStatus.SKIPPED}
        _must(StepStatus(row.status) in allowed, f"{row.name} is {row.status} in a run that is {run.status}")
        _must(row.lease_token is None, f"{row.name} is still leased")


def _nothing_is_owed(run: Run) -> None:
    owed = Delivery.objects.filter(key=run.key).exclude(status=DeliveryStatus.DONE)
    _must(not owed, f"deliveries were not made: {[f'{delivery} is {delivery.status}' for delivery in owed]}")


def _effect_is_journalled(step: Step, row: StepRun, calls: dict[tuple[str, str], list[Acted]]) -> None:
    times = sum(act.stands for act in calls[row.step, row.action])
    if not step.outside:
        journalled = int(row.status in (StepStatus.DONE, StepStatus.UNDOING, StepStatus.UNDONE))
        _must(times == journalled, f"{row.name} is {row.status} and took effect {times} times")
    elif row.status == StepStatus.DONE:
        found = any(act.stands for act in calls[row.step, "probe"]) and row.action == RowAction.RUN
        _must(times > 0 or found, f"{row.name} is done and never took effect")


def _asked_before_it_was_called_again(name: str, acted: Sequence[Acted]) -> None:
    in_doubt = False
    for act in acted:
        if act.name == name and act.kind == "run":
            _must(not in_doubt, f"{name} was called again before its probe was called")
            in_doubt = not act.failed
        elif act.name == name and act.kind == "probe" and act.returned:
            in_doubt = act.stands


def _went_forward_then_back(saga: Saga[Any], run: Run, acted: Sequence[Acted]) -> None:
    forward = _first_calls(acted, "run", [step.name for step in saga.steps])
    back = _first_calls(acted, "undo", [step.name for step in saga.steps])
    _must(forward == sorted(forward, key=_order_in(saga)), f"steps were taken out of order: {forward}")
    _must(back == sorted(back, key=_order_in(saga), reverse=True), f"steps were undone out of order: {back}")
    _must(set(back) <= set(forward), f"steps were undone that were never taken: {set(back) - set(forward)}")
    _must(not back or run.failure is not None, f"steps were undone without a failure: {back}")
    kinds = [act.kind for act in acted if act.kind == "undo" or act.name in forward]
    _must("run" not in kinds[kinds.index("undo") :] if "undo" in kinds else True, "a step was taken after an undo")


def _first_calls(acted: Sequence[Acted], kind: str, names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(act.name for act in acted if act.kind == kind and act.name in names))


def _order_in(saga: Saga[Any]) -> Callable[[str], int]:
    return [step.name for step in saga.steps].index
