"""Makes exceptions and results storable by PostgreSQL, whatever they hold."""

import json
import re
import traceback
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

#: The end of a traceback of recursion or of a large statement says enough.
_MAX_CHARACTERS = 20_000
#: A null character as JSON writes it, but not an escaped backslash before "u0000".
_NULL = re.compile(r"(?<!\\)(\\\\)*\\u0000")


def message_of(error: BaseException) -> str:
    """Return the message of an exception, also if its `__str__` fails."""
    try:
        return storable_text(str(error))
    except Exception as broken:  # noqa: BLE001 - a __str__ may raise anything
        return f"(its message cannot be shown: {type(broken).__name__})"


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an exception, also if the exception cannot be formatted."""
    try:
        return storable_text("".join(traceback.format_exception(error)))
    except Exception as broken:  # noqa: BLE001 - its attributes may raise anything
        return f"(its traceback cannot be shown: {type(broken).__name__})"


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


def storable_text(text: str) -> str:
    text = text.replace("\x00", "�").encode("utf-8", "replace").decode()
    return text if len(text) <= _MAX_CHARACTERS else f"… {text[-_MAX_CHARACTERS:]}"
