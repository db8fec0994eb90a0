"""Failed tries: each becomes a row of the journal, and a line of the log."""

import logging
import sysconfig
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from django.db import transaction

from ..core.errors import OutcomeUnknown, Rejected, Retryable
from ..db.storable import message_of, traceback_of
from ..models import Attempt
from .claim import Claim, Verdict

logger = structlog.get_logger(__name__)

#: Maximum length of a message in a line of the log; the row has all of it.
_MAX_SHOWN = 300
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A failed try, its exception, its verdict, and its time."""

    claim: Claim
    error: Exception
    verdict: Verdict
    at: datetime

    def attempt(self) -> Attempt:
        """Return its row, not yet saved."""
        assert self.claim.tried_at is not None  # noqa: S101 - a try that failed has begun
        of: dict[str, Any] = {self.claim.attempt_field: self.claim.row}
        return Attempt(
            **of,
            number=self.claim.row.attempts,
            kind=self.verdict.kind,
            error=type(self.error).__name__[:200],
            message=message_of(self.error),
            traceback=traceback_of(self.error),
            started_at=self.claim.tried_at,
            failed_at=self.at,
            retry_at=self.verdict.retry_at,
        )


def journal(failures: Sequence[Failed]) -> None:
    """Write failed tries down, and log them once that is committed.

    Transaction: requires the transaction that settles the steps or deliveries.
    """
    Attempt.objects.bulk_create([failed.attempt() for failed in failures])
    for failed in failures:
        transaction.on_commit(partial(_log, failed), robust=True)


def _log(failed: Failed) -> None:
    """Log a failed try.

    A bug is logged as an error, a refusal as information, anything else as a warning once it is given up. Lines of the
    same failure share their `fingerprint`; the logging configuration limits how many are written.
    """
    claim, error = failed.claim, failed.error
    place, retry_at = _place_of(error), failed.verdict.retry_at
    logger.log(
        _level(error, given_up=failed.verdict.is_given_up),
        "try_failed",
        **claim.log_fields,
        key=claim.key,
        attempt=claim.row.attempts,
        error=f"{type(error).__name__}: {message_of(error)}"[:_MAX_SHOWN],
        place=place,
        retry_at=None if retry_at is None else retry_at.isoformat(),
        fingerprint=f"{claim.name} {type(error).__name__} {place}",
    )


def _level(error: Exception, *, given_up: bool) -> int:
    if not isinstance(error, Rejected | Retryable | OutcomeUnknown):
        return logging.ERROR
    return logging.WARNING if given_up and not isinstance(error, Rejected) else logging.INFO


def _place_of(error: Exception) -> str:
    """Return the module and line of the innermost frame outside of libraries; empty without a traceback."""
    frames = [
        (frame.f_code.co_filename, frame.f_globals.get("__name__"), line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    own = [frame for frame in frames if not frame[0].startswith(_LIBRARIES)]
    return "".join(f"{module}:{line}" for _, module, line in (own or frames)[-1:])
