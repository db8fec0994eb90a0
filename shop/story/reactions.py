"""The steps of a choreographed order: which reaction executes which step, and the status of each."""

from collections.abc import Iterable

from pydantic import ValidationError

from orders.events import OrderPlaced
from sagas.core import registry
from sagas.core.saga import Step
from sagas.core.statuses import DeliveryStatus
from sagas.core.subscription import Start
from sagas.operations.queries import Delivery, Journal
from shop.processes.fulfil_order import fulfil_order
from shop.wiring import CHOREOGRAPHY

from .words import is_retried, words

_START = f"start-{fulfil_order.name}"
_STEPS = {f"then-{step.name}": step for step in (*fulfil_order.steps, *fulfil_order.after_undo)}
_UNDO = ("then-release-payment", *(f"then-{step.undo_name}" for step in fulfil_order.steps if step.undo is not None))


def is_choreographed(journal: Journal) -> bool:
    """Say whether an order is choreographed."""
    names = {delivery.subscription for event in journal.events for delivery in event.deliveries.all()} - {_START}
    starts_by_event = not isinstance(registry.subscription(_START), Start)
    return not journal.runs and (bool(names & set(CHOREOGRAPHY)) or starts_by_event)


def step_of(subscription: str) -> Step | None:
    """Return the step that a reaction of the choreography executes."""
    return fulfil_order.steps[0] if subscription == _START else _STEPS.get(subscription)


def title_of(subscription: str, *, choreographed: bool) -> str:
    """Return the title of a reaction, for people."""
    step = step_of(subscription) if choreographed else None
    return words(subscription.removeprefix("then-") if step is None else step.name)


def leaves_alone(delivery: Delivery, journal: Journal, *, choreographed: bool) -> str:
    """Return why a reaction did nothing; empty if it executed its step."""
    if delivery.status != DeliveryStatus.DONE or delivery.subscription not in CHOREOGRAPHY:
        return ""
    if not choreographed:
        return "" if delivery.subscription == _START else "Left to the run that conducts the order."
    step = step_of(delivery.subscription)
    return "" if step is None or _is_meant(step, journal) else "Not needed for this order."


def _is_meant(step: Step, journal: Journal) -> bool:
    placed = next((event for event in journal.events if event.type == OrderPlaced.type), None)
    if step.when is None or placed is None:
        return True
    try:
        return bool(step.when(OrderPlaced.read(placed.data, version=placed.version)))
    except ValidationError:
        return True


def stages(journal: Journal) -> Iterable[tuple[str, str, str]]:
    """Yield name, status and action of each step, in the order of the saga; then the steps of the undo so far."""
    made = {delivery.subscription: delivery for event in journal.events for delivery in event.deliveries.all()}
    turned = any(delivery.status == DeliveryStatus.FAILED for delivery in made.values()) or bool(made.keys() & {*_UNDO})
    for step in fulfil_order.steps:
        name = _START if step is fulfil_order.steps[0] else f"then-{step.name}"
        if name in made:
            yield step.name, status_of(made[name], journal), "run"
        else:
            yield step.name, "skipped" if turned or not _is_meant(step, journal) else "pending", "run"
    for name in (*_UNDO, *(f"then-{step.name}" for step in fulfil_order.after_undo)):
        if name in made:
            yield name.removeprefix("then-"), status_of(made[name], journal), "undo" if name in _UNDO else "run"


def status_of(delivery: Delivery, journal: Journal, *, choreographed: bool = True) -> str:
    if is_retried(delivery):
        return "waiting"
    if delivery.status == DeliveryStatus.SKIPPED:
        return "skipped by hand"
    return "skipped" if leaves_alone(delivery, journal, choreographed=choreographed) else str(delivery.status)
