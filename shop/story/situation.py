"""The input of the standing of an order."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from orders import selectors as orders
from sagas.core.statuses import LIVE_DELIVERIES, DeliveryStatus
from sagas.operations import attention
from sagas.operations.attention_reasons import Attention, Why
from sagas.operations.queries import Delivery, Journal, Run, StepRun

from . import reactions
from .words import Audience


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The input of the standing of an order.

    Attributes:
        run: the latest, if there is one.
        row: the step that is next, is under way, or at which the run stopped.
        under_way: open deliveries, without those of paused subscriptions.
        failed: the reactions that gave up and caused the undo of the order.
        is_relayed: the relay has taken all its events.
        to: the audience.
    """

    order: orders.Order
    journal: Journal
    run: Run | None
    row: StepRun | None
    under_way: tuple[Delivery, ...]
    failed: tuple[Delivery, ...]
    attention: tuple[Attention, ...]
    choreographed: bool
    is_relayed: bool
    now: datetime
    to: Audience

    @property
    def is_over(self) -> bool:
        return self.run is None or self.run.finished_at is not None

    def waits_because(self, *reasons: Why) -> bool:
        return any(each.why in reasons for each in self.attention)

    def title(self, subscription: str) -> str:
        return f"“{reactions.title_of(subscription, choreographed=self.choreographed)}”"


def situation(order_id: UUID, journal: Journal, *, now: datetime, to: Audience) -> Situation:
    """Return the situation of an order, as its journal and what waits for a person tell it.

    Raises:
        LookupError: there is no such order.
    """
    order = orders.order(order_id)
    if order is None:
        raise LookupError(f"there is no order {order_id}")
    found = tuple(attention.of([str(order_id)], now=now).get(str(order_id), ()))
    held = {each.name for each in found if each.why in (Why.HELD_BACK, Why.SWITCHED_OFF)}
    owed = [delivery for event in journal.events for delivery in event.deliveries.all()]
    run = journal.runs[-1] if journal.runs else None
    return Situation(
        order=order,
        journal=journal,
        run=run,
        row=None if run is None else _current(run),
        under_way=tuple(each for each in owed if each.status in LIVE_DELIVERIES and each.subscription not in held),
        failed=tuple(each for each in owed if each.status == DeliveryStatus.FAILED),
        attention=found,
        choreographed=reactions.is_choreographed(journal),
        is_relayed=all(event.relayed_at is not None for event in journal.events),
        now=now,
        to=to,
    )


def _current(run: Run) -> StepRun | None:
    if run.finished_at is not None:
        return None
    return next((row for row in run.steps.all() if row.place == run.place), None)
