"""Diagrams of a saga, in Mermaid, made from its definition."""

from collections.abc import Iterator
from typing import Any

from .saga import Pivot, Saga, Step
from .statuses import RUN_TRANSITIONS, STEP_TRANSITIONS


def sequence(saga: Saga[Any]) -> str:
    """Return the sequence diagram: forward through the queues, back through the undos."""
    return "\n".join(_sequence(saga))


def states() -> str:
    """Return the state diagrams of every run and every step."""
    return "\n\n".join((_states("Run", RUN_TRANSITIONS, "running"), _states("Step", STEP_TRANSITIONS, "pending")))


def _sequence(saga: Saga[Any]) -> Iterator[str]:
    yield "sequenceDiagram"
    yield "    participant relay"
    yield "    participant engine as sagas"
    for queue in dict.fromkeys(step.queue for step in (*saga.steps, *saga.after_undo)):
        yield f"    participant {queue}"
    yield f"    relay->>engine: {saga.input.type}"
    for step in saga.steps:
        yield from _step(step)
    yield "    Note over engine: completed"
    before = saga.steps if saga.pivot_place is None else saga.steps[: saga.pivot_place]
    yield "    rect rgb(255, 240, 235)"
    yield "    Note over engine: a step before the pivot gave up: undo what took effect, in reverse"
    for step in reversed(before):
        if step.undo is not None:
            yield f"    engine->>{step.queue}: {step.undo_name}"
    for step in saga.after_undo:
        yield f"    engine->>{step.queue}: {step.name}"
    yield "    Note over engine: undone"
    yield "    end"


def _step(step: Step) -> Iterator[str]:
    if isinstance(step, Pivot):
        yield "    Note over engine: pivot: from here on only forward"
    when = "" if step.when is None else f" (when {step.when.__name__.replace('_', ' ')})"
    arrow = "-)" if step.outside else "->>"
    yield f"    engine{arrow}{step.queue}: {step.name}{when}"
    if step.outside and step.probe is not None:
        yield f"    Note over {step.queue}: no answer? {step.probe.__name__.replace('_', '-')} asks before a second try"


def _states(title: str, transitions: dict[Any, frozenset[Any]], first: str) -> str:
    lines = ["stateDiagram-v2", f"    %% {title}", f"    [*] --> {first}"]
    for status, following in transitions.items():
        lines += [f"    {status} --> {target}" for target in sorted(following)]
        if not following:
            lines.append(f"    {status} --> [*]")
    return "\n".join(lines)
