"""The steps and subscriptions of a watched saga: every call of an action has its boundaries."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from django.db import transaction

from ..core import registry
from ..core.errors import OutcomeUnknown, Rejected, Retryable
from ..core.saga import Call, Result, Saga, SetFunction, Step, StepFunction
from ..core.subscription import ReactionToMany, Received, Start, Subscription, starts
from .boundaries import Acted, Watch
from .paths import Fault

T = TypeVar("T")


def watched(saga: Saga[Any], watch: Callable[[], Watch]) -> list[Subscription]:
    """Return the registered definitions, and `saga`, with actions that record their boundaries."""
    known = registry.subscriptions()
    if saga.name not in registry.names():
        known.append(starts(saga))
    return [_watched_subscription(subscription, watch) for subscription in known]


def _watched_subscription(subscription: Subscription, watch: Callable[[], Watch]) -> Subscription:
    if isinstance(subscription, Start):
        return replace(subscription, saga=_watched_saga(subscription.saga, watch))

    return replace(
        subscription,
        react=_watched_reaction(subscription, watch),
        react_many=_watched_reaction_to_many(subscription, watch),
    )


def _reaction(subscription: Subscription, received: Received[Any]) -> Acted:
    return Acted(
        kind="react",
        name=subscription.name,
        of=received.event.key,
        key=received.idempotency_key,
        outside=subscription.outside,
    )


def _watched_reaction(subscription: Subscription, watch: Callable[[], Watch]) -> Callable[[Received[Any]], None] | None:
    react = subscription.react
    if react is None:
        return None

    @functools.wraps(react)
    def watched_react(received: Received[Any]) -> None:
        _act(watch(), _reaction(subscription, received), lambda: react(received))

    return watched_react


def _watched_reaction_to_many(subscription: Subscription, watch: Callable[[], Watch]) -> ReactionToMany | None:
    many = subscription.react_many
    if many is None:
        return None

    def react_to_many(received: Sequence[Received[Any]]) -> Mapping[UUID, object]:
        acted = {each.event_id: (_reaction(subscription, each), each) for each in received}
        return _act_many(watch(), acted, lambda some: many(some) if some else {})

    return react_to_many


def _watched_saga(saga: Saga[Any], watch: Callable[[], Watch]) -> Saga[Any]:
    def with_actions(step: Step) -> Step:
        return replace(
            step,
            run=None if step.run is None else _watched_action(step, "run", step.run, watch),
            run_many=_watched_many(step, watch),
            undo=None if step.undo is None else _watched_action(step, "undo", step.undo, watch),
            probe=None if step.probe is None else _watched_action(step, "probe", step.probe, watch),
        )

    return replace(
        saga,
        steps=tuple(with_actions(step) for step in saga.steps),
        after_undo=tuple(with_actions(step) for step in saga.after_undo),
    )


def _watched_action(step: Step, kind: str, action: StepFunction, watch: Callable[[], Watch]) -> StepFunction:
    @functools.wraps(action)
    def act(call: Call[Any]) -> Result:
        acted = Acted(kind=kind, name=step.name, of=call.key, key=call.idempotency_key, outside=step.outside)
        result: Result = _act(watch(), acted, lambda: action(call))
        return result

    return act


def _watched_many(step: Step, watch: Callable[[], Watch]) -> SetFunction | None:
    many = step.run_many
    if many is None:
        return None

    def act(calls: Sequence[Call[Any]]) -> Mapping[UUID, Result | Exception]:
        acted = {
            call.id: (
                Acted(kind="run", name=step.name, of=call.key, key=call.idempotency_key, outside=step.outside),
                call,
            )
            for call in calls
        }
        return _act_many(watch(), acted, lambda some: many(some) if some else {})

    return act


def _act_many(
    watch: Watch, acted: Mapping[UUID, tuple[Acted, T]], action: Callable[[Sequence[T]], Mapping[UUID, Any]]
) -> Mapping[UUID, Any]:
    """As `_act`, for work that is written for many calls: the victim's fault is its outcome.

    In a batch, a lost answer is a missing outcome.
    """
    leased = any(one.outside for one, _ in acted.values())
    watch.acted += [one for one, _ in acted.values()]
    watch.phase = next(one.kind for one, _ in acted.values())
    watch.reach("before", "call", leased=leased)
    faults = {name: watch.fault_of(one) for name, (one, _) in acted.items()}
    refused = {name: error for name, fault in faults.items() if (error := _refusal(fault)) is not None}
    outcomes = {**refused, **action([work for name, (_, work) in acted.items() if name not in refused])}
    for name, (one, _) in acted.items():
        failed = isinstance(outcomes.get(name), Exception)
        one.failed = isinstance(outcomes.get(name), Rejected | Retryable) or (name not in outcomes and not one.outside)
        one.returned = name in outcomes and not failed
        if one.returned and one.outside:
            one.stands = True
        elif one.returned:
            transaction.on_commit(one)
    watch.reach("after", "call", leased=leased)
    watch.phase = "settle"
    lost = {name for name, fault in faults.items() if fault is Fault.LOSES_ANSWER}
    if len(acted) == 1 and lost:
        return dict.fromkeys(lost, OutcomeUnknown("The test lost the answer."))
    return {name: outcome for name, outcome in outcomes.items() if name not in lost}


def _act(watch: Watch, acted: Acted, action: Callable[[], Any]) -> Any:
    watch.acted.append(acted)
    watch.phase = acted.kind
    watch.reach("before", "call", leased=acted.outside)
    fault = watch.fault_of(acted)
    try:
        refusal = _refusal(fault)
        if refusal is not None:
            raise refusal
        result = action()
    except (Rejected, Retryable):
        acted.failed = True
        watch.reach("after", "call", leased=acted.outside)
        watch.phase = "settle"
        raise
    acted.returned = True
    if acted.outside:
        acted.stands = acted.kind != "probe" or result is not None
    else:
        transaction.on_commit(acted)
    watch.reach("after", "call", leased=acted.outside)
    watch.phase = "settle"
    if fault is Fault.LOSES_ANSWER:
        raise OutcomeUnknown("The test lost the answer.")
    return result


def _refusal(fault: Fault | None) -> Rejected | Retryable | None:
    if fault is Fault.REJECTED:
        return Rejected("The test says no.")
    if fault is Fault.FAILS_ONCE:
        return Retryable("The test says not now.")
    return None
