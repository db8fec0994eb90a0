"""Failed tries, as the journal keeps them: whatever an exception is made of, it can be written down."""

import json
import re
import traceback
from datetime import datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection

from ..core.errors import FailureKind
from ..models import Attempt, Delivery, StepRun

#: A traceback of recursion or of a large statement says no more than its end.
_MAX_CHARACTERS = 20_000
#: A null character as JSON writes it, and not a backslash that happens to stand before "u0000".
_NULL = re.compile(r"(?<!\\)(\\\\)*\\u0000")


def failed_try(
    error: BaseException,
    *,
    of: StepRun | Delivery,
    kind: FailureKind,
    started_at: datetime,
    failed_at: datetime,
    retry_at: datetime | None,
) -> Attempt:
    """Write down a failed try.

    Transaction: requires the one that settles the step or delivery.
    """
    return Attempt.objects.create(
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
