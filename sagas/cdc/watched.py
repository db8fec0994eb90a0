"""Which tables a project wants to hear of: whose changes are kept, and what is done when they change."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Audited:
    """A table whose changes are kept as an audit trail.

    Without REPLICA IDENTITY FULL the trail has only what rows became, not what they were.

    Attributes:
        key: the column of its primary key.
        name: the column that has what people call a row; empty if they go by its key.
    """

    table: str
    key: str = "id"
    name: str = ""


_audited: dict[str, Audited] = {}
_on_change: dict[str, Callable[[], None]] = {}


def watch(audited: Sequence[Audited], on_change: Mapping[str, Callable[[], None]]) -> None:
    """Set what `manage.py changes` keeps and does.

    Args:
        on_change: by table, what is called when rows of it were changed, by whoever: once or more often, after the
            commit. It may fail, and is called again.
    """
    _audited.clear()
    _audited.update({one.table: one for one in audited})
    _on_change.clear()
    _on_change.update(on_change)


def audited() -> Mapping[str, Audited]:
    return _audited


def on_change() -> Mapping[str, Callable[[], None]]:
    return _on_change
