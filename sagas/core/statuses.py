"""The statuses of all rows, and their transitions; the state diagrams are made from these."""

from enum import StrEnum


class RunStatus(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    UNDOING = "undoing"
    COMPLETED = "completed"
    UNDONE = "undone"
    NEEDS_ATTENTION = "needs_attention"


class StepStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"  #: an outside call is under way, or its process died
    UNKNOWN = "unknown"  #: called, no answer; the probe decides
    DONE = "done"
    FAILED = "failed"  #: gave up, without effect
    UNDOING = "undoing"
    UNDONE = "undone"
    SKIPPED = "skipped"


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    PARKED = "parked"  #: a dead letter: out of tries, waits for a person
    FAILED = "failed"  #: gave up, and `on_give_up` has run
    SKIPPED = "skipped"  #: left out by a person


class RowAction(StrEnum):
    """The function of a step that a row of the plan calls."""

    RUN = "run"
    UNDO = "undo"


class Action(StrEnum):
    """The actions on a run, a parked delivery or a follower."""

    RETRY = "retry"
    SKIP = "skip"
    UNDO = "undo"
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    REPLAY = "replay"


class InterventionStatus(StrEnum):
    PENDING = "pending"
    DONE = "done"
    REFUSED = "refused"


class FindingStatus(StrEnum):
    OPEN = "open"
    CLEARED = "cleared"
    DISMISSED = "dismissed"


RUN_TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.RUNNING: frozenset({RunStatus.COMPLETED, RunStatus.UNDOING, RunStatus.NEEDS_ATTENTION, RunStatus.PAUSED}),
    # The call that was under way when the run was paused may be the last step.
    RunStatus.PAUSED: frozenset({RunStatus.RUNNING, RunStatus.UNDOING, RunStatus.COMPLETED, RunStatus.UNDONE}),
    RunStatus.UNDOING: frozenset({RunStatus.UNDONE, RunStatus.NEEDS_ATTENTION, RunStatus.PAUSED}),
    RunStatus.NEEDS_ATTENTION: frozenset({RunStatus.RUNNING, RunStatus.UNDOING, RunStatus.COMPLETED, RunStatus.UNDONE}),
    RunStatus.COMPLETED: frozenset(),
    RunStatus.UNDONE: frozenset(),
}

STEP_TRANSITIONS: dict[StepStatus, frozenset[StepStatus]] = {
    StepStatus.PENDING: frozenset({StepStatus.RUNNING, StepStatus.DONE, StepStatus.FAILED, StepStatus.SKIPPED}),
    StepStatus.RUNNING: frozenset(
        {StepStatus.PENDING, StepStatus.DONE, StepStatus.FAILED, StepStatus.UNKNOWN, StepStatus.UNDOING}
    ),
    StepStatus.UNKNOWN: frozenset({StepStatus.RUNNING, StepStatus.UNDOING}),
    StepStatus.DONE: frozenset({StepStatus.UNDOING}),
    StepStatus.UNDOING: frozenset({StepStatus.UNDONE}),
    StepStatus.FAILED: frozenset({StepStatus.PENDING}),
    StepStatus.UNDONE: frozenset(),
    StepStatus.SKIPPED: frozenset(),
}

#: Runs that the engine still has to work on.
LIVE_RUNS = (RunStatus.RUNNING, RunStatus.UNDOING)
#: Runs that wait for a person.
STOPPED_RUNS = (RunStatus.PAUSED, RunStatus.NEEDS_ATTENTION)
#: Open runs: at most one per saga and key.
OPEN_RUNS = (*LIVE_RUNS, *STOPPED_RUNS)
#: Statuses of steps that took effect or may have: an undo must cover them.
MAY_HAVE_EFFECT = (StepStatus.DONE, StepStatus.RUNNING, StepStatus.UNKNOWN)
#: Deliveries that a worker still has to take.
LIVE_DELIVERIES = (DeliveryStatus.PENDING, DeliveryStatus.RUNNING)
#: Open deliveries: those that are not settled.
OPEN_DELIVERIES = (*LIVE_DELIVERIES, DeliveryStatus.PARKED)
#: Settled deliveries: they hold up no later delivery.
SETTLED_DELIVERIES = (DeliveryStatus.DONE, DeliveryStatus.SKIPPED, DeliveryStatus.FAILED)


def choices(names: type[StrEnum]) -> list[tuple[str, str]]:
    """Return the choices of a model's field, with labels; the admin colours labels by these words."""
    return [(name.value, label(name)) for name in names]


def label(name: str) -> str:
    return str(name).replace("_", " ")
