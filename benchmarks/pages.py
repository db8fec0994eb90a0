"""The time of each page with the stored history.

Pages are requested in this process, each many times and, if there are many rows, each time of another one: the shop and
its database are measured, not the network. A database without history has a few orders too.
"""

# ruff: noqa: SLF001 - `_meta` is documented API of Django, and no other API lists the pages of the admin

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from psycopg.sql import SQL, Identifier, Literal

from backoffice.inspect import CappedPaginator
from orders.models import Order
from sagas.db import clock

from . import throughput
from .contenders import Ours
from .results import Measured, p50_and_p99, percentile

#: Returns an address of a page.
Address = Callable[[], str]

_A_PAGE = 50
#: More than a list of orders shows at once, so that it has a second page.
_ORDERS = 200
#: A page that takes seconds is requested less often.
_MAX_SECONDS = 15.0
#: The most used pages; of the others only the slowest one is reported.
_TOLD = (
    "order", "order, just done", "orders", "orders, second page", "orders, rejected", "orders, by number", "work queue",
    "dashboard", "runs", "API, order",
)  # fmt: skip
SLOWEST = "the slowest of all pages"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The times of a page, its number of statements, and the slowest statement with its time."""

    name: str
    seconds: tuple[float, ...]
    statements: int
    slowest_seconds: float
    slowest: str

    def __str__(self) -> str:
        half, most = (1000 * percentile(self.seconds, percent) for percent in (50, 99))
        told = f"{self.name:<52}{half:>8.0f}{most:>8.0f}{self.statements:>5}{1000 * self.slowest_seconds:>8.0f}"
        return f"{told}  {self.slowest[:300]}"


#: Head of the lines of `Asked.__str__`.
_HEAD = f"{'page':<52}{'p50 ms':>8}{'p99 ms':>8}{'sql':>5}{'slowest':>8}"


def measure(logs: Path, *, times: int, seed: str) -> list[Measured]:
    """Have the shop finish some orders, then request every page: `times` times for the usual ones, a tenth for others.

    What each page took, and its slowest statement, is written to `pages.log`.
    """
    shop = Ours(logs)
    try:
        shop.start()
        throughput.measure(shop, orders=_ORDERS, seed=seed)
    finally:
        shop.stop()
    found = list(_ask(times))
    lines = sorted(found, key=lambda page: percentile(page.seconds, 50), reverse=True)
    (logs / "pages.log").write_text("\n".join([_HEAD, *map(str, lines)]) + "\n")
    told = [
        Measured(what="pages", who=page.name, figures=p50_and_p99(page.seconds, "answered"))
        for page in found
        if page.name in _TOLD
    ]
    slowest = p50_and_p99(lines[0].seconds, "answered")
    return [*told, Measured(what="pages", who=SLOWEST, figures=slowest)]


def _ask(times: int) -> Iterator[Asked]:
    """Request every page once, which warms it up and counts its statements, and then this many times.

    Raises:
        LookupError: a page did not answer.
    """
    client = Client(SERVER_NAME="localhost", headers={"Authorization": f"Bearer {settings.API_TOKEN}"})
    user, _ = User.objects.get_or_create(username="pages", defaults={"is_superuser": True, "is_staff": True})
    client.force_login(user)
    for name, address in pages().items():
        yield _asked(client, name, address, times if name in _TOLD else ceil(times / 10))


def _asked(client: Client, name: str, address: Address, times: int) -> Asked:
    with CaptureQueriesContext(connection) as asked:
        _get(client, address())
    statements = [(float(each["time"]), str(each["sql"])) for each in asked.captured_queries]
    seconds: list[float] = []
    while len(seconds) < times and sum(seconds) < _MAX_SECONDS:
        seconds.append(_get(client, address()))
    slowest_seconds, slowest = max(statements, default=(0.0, ""))
    return Asked(
        name=name,
        seconds=tuple(seconds),
        statements=len(statements),
        slowest_seconds=slowest_seconds,
        slowest=slowest,
    )


def _get(client: Client, url: str) -> float:
    """Return how many seconds a page took."""
    began = time.perf_counter()
    answer = client.get(url)
    seconds = time.perf_counter() - began
    if answer.status_code != 200:
        raise LookupError(f"{url} answered {answer.status_code}")
    return seconds


# Which pages there are ------------------------------------------------------------------------------------------------


def pages() -> dict[str, Address]:
    """Return every page."""
    ids = _some(Order, "id")
    found = {
        "order": _any_of("/admin/orders/order/{}/change/", ids),
        "order, just done": _any_of("/admin/orders/order/{}/change/", _newest()),
        "order, its story": _any_of("/admin/orders/order/{}/story/", ids),
        "order, placing one": _at("/admin/orders/order/add/"),
        "API, order": _any_of("/api/orders/{}", ids),
        "API, health": _at("/api/health"),
        "dashboard": _at("/admin/"),
        "work queue": _at("/admin/sagas/intervention/queue/"),
        **_of_orders("/admin/orders/order/"),
    }
    for model, shown in admin.site._registry.items():
        if model is not Order and model._meta.app_label != "auth":
            found |= _of_table(model, shown)
    return found


def _newest() -> list[Any]:
    """Return the orders that have just gone through the shop: the same kind, with a history or without."""
    return list(Order.objects.order_by("-placed_at").values_list("id", flat=True)[:_ORDERS])


def _of_orders(url: str) -> dict[str, Address]:
    today, rejected = _days_ago(0), Order.objects.filter(status=Order.Status.REJECTED)
    numbers, names = _some(Order, "number"), _some(Order, "customer_name")
    return {
        "orders": _at(url),
        "orders, second page": _at(f"{url}?p=2"),
        "orders, hundredth page": _at(f"{url}?p={min(100, _last_page(Order.objects.all()))}"),
        "orders, last page": _at(f"{url}?p={_last_page(Order.objects.all())}"),
        "orders, need a person": _at(f"{url}?attention=yes"),
        **{f"orders, {status}": _at(f"{url}?status__exact={status}") for status in Order.Status.values},
        **{f"orders, {status} today": _at(f"{url}?status__exact={status}&placed_at__gte={today}")
           for status in Order.Status.values},
        "orders, rejected, hundredth page": _at(f"{url}?status__exact=rejected&p={min(100, _last_page(rejected))}"),
        "orders, of the last week": _at(f"{url}?placed_at__gte={_days_ago(7)}"),
        "orders, of the last year": _at(f"{url}?placed_at__gte={_days_ago(365)}"),
        "orders, of an old month, rejected": _at(
            f"{url}?placed_at__gte={_days_ago(330)}&placed_at__lt={_days_ago(300)}&status__exact=rejected"
        ),
        "orders, by id": _any_of(f"{url}?q={{}}", _some(Order, "id")),
        "orders, by number": _any_of(f"{url}?q={{}}", numbers),
        "orders, by the beginning of a number": _any_of(f"{url}?q={{}}", [number[:4] for number in numbers]),
        "orders, by e-mail": _any_of(f"{url}?q={{}}", _some(Order, "customer_email")),
        "orders, by the beginning of a name": _any_of(f"{url}?q={{}}", [name[:5] for name in names]),
        "orders, by a whole name": _any_of(f"{url}?q={{}}", names),
        "orders, by a name of no customer": _at(f"{url}?q=Zzyzx"),
    }  # fmt: skip


def _of_table(model: Any, shown: Any) -> dict[str, Address]:
    """Return the pages of a list: bare, its second and last page, sorted, filtered, searched; and the page of one."""
    name, url = str(model._meta.verbose_name_plural), f"/admin/{model._meta.label_lower.replace('.', '/')}/"
    return {
        name: _at(url),
        f"{name}, second page": _at(f"{url}?p=2"),
        f"{name}, last page": _at(f"{url}?p={_last_page(model._default_manager.all())}"),
        **{f"{name}, filter {query}": _at(f"{url}?{query}") for query in _filters(shown)},
        **{f"{name}, sorted by {title}": _at(f"{url}?o={place}") for place, title in _sortable(shown)},
        **{f"{name}, search {field}": _any_of(f"{url}?q={{}}", terms) for field, terms in _terms(model, shown)},
        f"{name}, search in vain": _at(f"{url}?q=nothing"),
        **({f"{name}, one": _any_of(f"{url}{{}}/change/", ids)} if (ids := _some(model, "pk")) else {}),
    }


def _filters(shown: Any) -> Iterator[str]:
    for each in shown.list_filter:
        if isinstance(each, str):
            choices = shown.model._meta.get_field(each).flatchoices or [(1, "yes"), (0, "no")]
            yield from (f"{each}__exact={value}" for value, _ in choices)
        else:
            yield from (f"{each.parameter_name}={value}" for value, _ in each.lookups(each, None, shown))


def _sortable(shown: Any) -> Iterator[tuple[int, str]]:
    """Return the columns whose heads can be clicked on."""
    columns = {column.name for column in shown.model._meta.get_fields()}
    for place, title in enumerate(shown.list_display, 1):
        has_order = title in columns or hasattr(getattr(shown, title, None), "admin_order_field")
        if has_order and (shown.sortable_by is None or title in shown.sortable_by):
            yield place, title


def _terms(model: Any, shown: Any) -> Iterator[tuple[str, list[Any]]]:
    for field in shown.search_fields:
        column = field.partition("__")[0] if field.endswith(("startswith", "__icontains")) else field
        if terms := [term for term in _some(model, column) if term]:
            yield field, terms


def _at(url: str) -> Address:
    return lambda: url


def _any_of(form: str, values: Sequence[Any]) -> Address:
    return lambda: form.format(random.choice(values))  # noqa: S311 - nothing is kept secret with it


def _days_ago(days: int) -> str:
    midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    return quote(str(midnight - timedelta(days=days)))


def _last_page(rows: QuerySet[Any]) -> int:
    return CappedPaginator(rows.order_by("-pk"), _A_PAGE).num_pages


def _some(model: Any, column: str, count: int = 200) -> list[Any]:
    """Return a column of rows from everywhere in a table."""
    rows, meta = model._default_manager, model._meta
    percent = min(100.0, 100 * 50 * count / (_A_PAGE * _last_page(rows.all())))
    with connection.cursor() as cursor:
        cursor.execute(
            SQL("SELECT {} FROM {} TABLESAMPLE SYSTEM ({}) ORDER BY random() LIMIT {}").format(
                Identifier(meta.pk.column), Identifier(meta.db_table), Literal(percent), Literal(count)
            )
        )
        ids = [pk for (pk,) in cursor.fetchall()]
    return list(rows.filter(pk__in=ids).values_list(column, flat=True))
