"""Labels of keys on admin pages: an order's number with a link, if a row has the order's id.

The project knows the labels; this package does not import it and gets functions from it (`ask_for_names`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

from django.utils.functional import lazy
from django.utils.html import format_html
from django.utils.safestring import SafeString


class Label(Protocol):
    """The label of a key, and the page of its object."""

    @property
    def text(self) -> str: ...
    @property
    def url(self) -> str: ...


_labels: Callable[[Collection[str]], Mapping[str, Label]] = lambda _: {}  # noqa: E731
_key_of: Callable[[str], str | None] = lambda _: None  # noqa: E731
_example: Callable[[], str] = lambda: ""  # noqa: E731


def ask_for_names(
    labels: Callable[[Collection[str]], Mapping[str, Label]],
    key_of: Callable[[str], str | None],
    example: Callable[[], str],
) -> None:
    """Set the functions of the project: labels by key, the key of a label, an example of a label for help texts."""
    global _labels, _key_of, _example
    _labels, _key_of, _example = labels, key_of, example


def key_of(text: str) -> str | None:
    return _key_of(text)


def searched(*fields: str) -> Any:
    """Return the help text of a search by these fields and by key."""
    start = f"A whole {', '.join(fields)}{' or ' if fields else ''}key"
    return lazy(lambda: f"{start}{_example()}.", str)()


def put_labels(rows: Iterable[Any], field: str) -> None:
    """Put the label of its key on each row; as many statements for many as for one."""
    rows = list(rows)
    found = _labels({str(getattr(row, field)) for row in rows})
    for row in rows:
        row.key_label = found.get(str(getattr(row, field)))


def link(row: Any, field: str) -> SafeString | str:
    """Return the label of a row's key as a link; the key itself if it has no label."""
    label: Label | None = getattr(row, "key_label", None)
    if label is None:
        return str(getattr(row, field))
    return format_html('<a class="underline" href="{}">{}</a>', label.url, label.text)
