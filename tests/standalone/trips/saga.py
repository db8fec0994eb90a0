"""A saga: book a flight and a hotel, charge the card; where the card is declined, cancel both."""

from typing import ClassVar

from django.db import transaction
from django.utils import timezone

from sagas.core.errors import Rejected
from sagas.core.events import DomainEvent
from sagas.core.saga import Call, Pivot, Saga, Step
from sagas.log import outbox

from .models import Entry


class TripWanted(DomainEvent):
    """A customer wants a trip."""

    type: ClassVar[str] = "trips.trip_wanted"
    aggregate: ClassVar[str] = "trip"

    trip: str
    card: str

    @property
    def subject_id(self) -> str:
        return self.trip


class CardDeclined(Rejected):
    """The bank declined the card."""


def _note(call: Call[TripWanted], what: str) -> None:
    Entry.objects.create(trip=call.input.trip, what=what)


def reserve_flight(call: Call[TripWanted]) -> None:
    _note(call, "reserve-flight")


def cancel_flight(call: Call[TripWanted]) -> None:
    _note(call, "cancel-flight")


def reserve_hotel(call: Call[TripWanted]) -> None:
    _note(call, "reserve-hotel")


def cancel_hotel(call: Call[TripWanted]) -> None:
    _note(call, "cancel-hotel")


def charge_card(call: Call[TripWanted]) -> None:
    if call.input.card == "empty":
        raise CardDeclined(f"{call.input.trip}: the card is empty")
    _note(call, "charge-card")


def say_sorry(call: Call[TripWanted]) -> None:
    _note(call, "say-sorry")


BOOK_TRIP = Saga(
    "book-trip",
    input=TripWanted,
    steps=(
        Step("reserve-flight", queue="trips", run=reserve_flight, undo=cancel_flight),
        Step("reserve-hotel", queue="trips", run=reserve_hotel, undo=cancel_hotel),
        Pivot("charge-card", queue="trips", run=charge_card),
    ),
    after_undo=(Step("say-sorry", queue="trips", run=say_sorry),),
)


def want(trip: str, *, card: str = "full") -> None:
    """Ask for a trip: the event starts the saga."""
    with transaction.atomic():
        outbox.emit(TripWanted(trip=trip, card=card), now=timezone.now())
