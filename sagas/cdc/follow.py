"""A process that follows a slot: one works, others stand by. Shared by the commands that do so."""

import re
from argparse import ArgumentParser
from collections.abc import Callable

import structlog
from django.core.management.base import CommandError
from django.db import OperationalError

from . import slots
from .capture import Capture
from .errors import CannotFollow, SlotInUse
from .foreground import Foreground
from .slots import Slot

logger = structlog.get_logger(__name__)

#: Seconds between two tries to follow a slot that another process follows.
_TAKE_OVER_SECONDS = 1.0
#: Seconds between two tries when the database has to be set up first.
_MENDED_SECONDS = 30.0


def follow(slot: Slot, process: Foreground, worker: Callable[[Capture], Callable[[], None]]) -> None:
    """Run a worker on the changes of a slot until told to stop, through outages.

    Args:
        worker: makes the function that is called repeatedly; called anew for each connection to the slot.

    Raises:
        CannotFollow: it says what to do.
    """
    standing_by = False

    def work() -> None:
        nonlocal standing_by
        try:
            capture = Capture(slot)
        except SlotInUse as used:
            if not standing_by:
                logger.warning("standing_by", slot=slot.name, reason=str(used))
            standing_by = True
            process.rest(_TAKE_OVER_SECONDS)
            return
        standing_by = False
        with capture:
            logger.info("following", slot=slot.name, new=capture.is_new)
            turn = worker(capture)
            while process.goes_on:
                turn()
            capture.report()

    process.through_outages(work)


def patiently(work: Callable[[], None], process: Foreground) -> None:
    """Run work; while the database is not set up for it, print what to do and try again, until told to stop."""
    while process.goes_on:
        try:
            work()
        except CannotFollow as error:
            logger.warning("cannot_follow", reason=str(error))
            process.rest(_MENDED_SECONDS)


def add_arguments(parser: ArgumentParser, *, slot: str) -> None:
    parser.add_argument("--slot", default=slot, help=f"name of replication slot and publication ({slot})")
    parser.add_argument(
        "--drop-slot", action="store_true", help="let go of the write-ahead log, and end: without a reader it piles up"
    )


def checked(slot: str) -> str:
    """Return the name of a slot, checked.

    Raises:
        CommandError: a slot cannot have this name.
    """
    if not re.fullmatch("[a-z0-9_]{1,50}", slot):
        raise CommandError(f"{slot!r} is no name of a slot: small letters, digits and underscores, 50 at most.")
    return slot


def drop(slot: str) -> str:
    """Drop a slot; return what to say.

    Raises:
        CommandError: a process follows it.
    """
    try:
        dropped = slots.drop(slot)
    except OperationalError as error:
        raise CommandError(f"{str(error).strip()}: stop the process that follows it first.") from None
    return f"The slot {slot} is dropped." if dropped else f"There is no slot {slot}."
