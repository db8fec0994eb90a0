"""Failed tries, as the journal keeps them: whatever an exception is made of, it can be written down."""

import json
import logging
import re
import sysconfig
import traceback
from datetime import datetime
from typing import Any

import structlog
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction

from ..core.errors import FailureKind, OutcomeUnknown, Rejected, Retryable
from ..models import Attempt, Delivery, StepRun

logger = structlog.get_logger(__name__)

#: A traceback of recursion or of a large statement says no more than its end.
_MAX_CHARACTERS = 20_000
#: A null character as JSON writes it, and not a backslash that happens to stand before "u0000".
_NULL = re.compile(r"(?<!\\)(\\\\)*\\u0000")
#: Of a message in a line of the log; the attempt has all of it.
_MAX_SHOWN = 300
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


def failed_try(
    error: BaseException,
    *,
    of: StepRun | Delivery,
    key: str,
    kind: FailureKind,
    started_at: datetime,
    failed_at: datetime,
    retry_at: datetime | None,
) -> Attempt:
    """Write down a failed try, in the journal and, once that is committed, in the log.

    Transaction: requires the one that settles the step or delivery.
    """
    attempt = Attempt.objects.create(
        step=of if isinstance(of, StepRun) else None,
        delivery=of if isinstance(of, Delivery) else None,
        number=of.attempts,
        kind=kind,
        error=type(error).__name__[:200],
        message=message_of(error),
        traceback=_storable("".join(traceback.format_exception(error))),
        started_at=started_at,
        failed_at=failed_at,
        retry_at=retry_at,
    )
    transaction.on_commit(lambda: _tell(attempt, error, of, key), robust=True)
    return attempt


def _tell(attempt: Attempt, error: BaseException, of: StepRun | Delivery, key: str) -> None:
    """Log a failed try: a bug as an error, a refusal as information, what may pass as a warning when it is given up.

    Lines of one failure share their `fingerprint`; how many of them are written is for the logging to say.
    """
    if not isinstance(error, Rejected | Retryable | OutcomeUnknown):
        level = logging.ERROR
    elif isinstance(error, Rejected) or attempt.retry_at is not None:
        level = logging.INFO
    else:
        level = logging.WARNING
    name, place = (of.name if isinstance(of, StepRun) else of.subscription), _place_of(error)
    told = {"step": name, "run": str(of.run_id)} if isinstance(of, StepRun) else {"subscription": name}
    look = f"manage.py sagas show {of.run_id}" if isinstance(of, StepRun) else f"sagas/delivery/{of.pk} in the admin"
    logger.log(
        level,
        "try_failed",
        **told,
        key=key,
        attempt=attempt.number,
        error=f"{attempt.error}: {attempt.message}"[:_MAX_SHOWN],
        place=place,
        retry_at=None if attempt.retry_at is None else attempt.retry_at.isoformat(),
        look=look,
        fingerprint=f"{name} {attempt.error} {place}",
    )


def _place_of(error: BaseException) -> str:
    """Return the module and line that raised, the innermost that is no library's; empty without a traceback."""
    frames = [(frame.f_code.co_filename, frame.f_globals.get("__name__"), line)
              for frame, line in traceback.walk_tb(error.__traceback__)]  # fmt: skip
    own = [frame for frame in frames if not frame[0].startswith(_LIBRARIES)]
    return "".join(f"{module}:{line}" for _, module, line in (own or frames)[-1:])


def check_constraints() -> None:
    """Have deferred constraints fail in the work that violates them, not at a commit it shares with others.

    Transaction: requires one.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")


def message_of(error: BaseException) -> str:
    """Return what an exception says, even if it cannot say it."""
    try:
        return _storable(str(error))
    except Exception as broken:  # noqa: BLE001 - a __str__ of somebody else's
        return f"(its message cannot be shown: {type(broken).__name__})"


def storable_result(result: Any) -> Any:
    """Return a result as it will be read back from the journal.

    Raises:
        TypeError, ValueError: it is not JSON, or holds what PostgreSQL cannot store.
    """
    text = json.dumps(result, cls=DjangoJSONEncoder, allow_nan=False, ensure_ascii=False)
    text.encode()  # refuses half a surrogate pair
    if _NULL.search(text):
        raise ValueError("PostgreSQL cannot store a null character")
    return json.loads(text)


def _storable(text: str) -> str:
    text = text.replace("\x00", "�").encode("utf-8", "replace").decode()
    return text if len(text) <= _MAX_CHARACTERS else f"… {text[-_MAX_CHARACTERS:]}"
