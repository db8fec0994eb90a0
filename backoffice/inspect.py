"""Admin pages for rows that only the engine and services write; fast, however many rows there are."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db import connection, models
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from . import keys

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList

    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
    Pages = Paginator[Any]
else:
    Pages = Paginator
    from unfold.admin import ModelAdmin, TabularInline
    from unfold.views import ChangeList

from unfold.decorators import display

from backoffice.money_fields import amount_column

Column = TypeVar("Column", bound=Callable[..., Any])

#: Counting further takes too long, and no user pages so far.
_COUNTED = 10_000


def labelled(description: str, colours: Mapping[str, str]) -> Callable[[Column], Column]:
    """Show a column's value as a label, with a colour by its meaning (success, danger, …)."""
    decorate: Callable[[Column], Column] = display(description=description, label=dict(colours))
    return decorate


class CappedPaginator(Pages):
    """Limits the counting of rows: a filtered list up to 10,000 rows, a whole table by PostgreSQL's estimate.

    There are no pages beyond the limit: to skip a million rows PostgreSQL must read them. Filters narrow the list.
    """

    template_name = "backoffice/pages.html"

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        counted: int = rows.order_by()[: _COUNTED + 1].count()
        if counted <= _COUNTED:
            return counted
        return _COUNTED if rows.query.where else max(_COUNTED, _rounded(_estimate(rows.model)))

    @cached_property
    def num_pages(self) -> int:
        return math.ceil(min(max(1, self.count), _COUNTED) / self.per_page)

    @property
    def said(self) -> str:
        """The number of rows, as text, as far as it is known."""
        if self.count < _COUNTED:
            return f"{self.count:,}"
        about = f"{self.count:,} or more" if self.count == _COUNTED else f"about {self.count:,}"
        return f"{about}, of which {_COUNTED:,} are listed:"


def _rounded(count: int) -> int:
    """Return an estimate, rounded to its precision."""
    return round(count, 2 - len(str(count)))


def _estimate(model: type[models.Model]) -> int:
    table = model._meta.db_table  # noqa: SLF001 - Django's documented API
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [table])
        (rows,) = cursor.fetchone() or (0,)
        return int(rows)


def _fits(term: str, field: Any) -> bool:
    if isinstance(field, models.UUIDField):
        return is_uuid(term)
    if isinstance(field, models.IntegerField):
        return term.isascii() and term.isdigit() and len(term) < 19
    return "\x00" not in term


def is_uuid(term: str) -> bool:
    try:
        UUID(term)
    except ValueError:
        return False
    return True


class InspectAdmin(ModelAdmin):
    """Read-only rows: they cannot be added, changed or deleted here, also not by superusers.

    Search fields are compared for equality, so that a search is an index lookup. The newest rows come first, and there
    is no other order: to sort by a column without an index is to read the whole table.

    Attributes:
        key_field: the field with the row's key; the column `about` shows the label of the key with a link, and a search
            for that label finds the row.
    """

    key_field = ""
    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 50
    sortable_by = ()
    actions: Any = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        wanted = Q(pk__in=[])
        for name in self.search_fields:
            wanted |= _is(queryset.model, name, term)
        if self.key_field and (key := keys.key_of(term)) is not None:
            wanted |= Q(**{self.key_field: key})
        return queryset.filter(wanted), False

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return LabelledList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row = super().get_object(request, object_id, from_field)
        if row is not None and self.key_field:
            keys.put_labels([row], self.key_field)
        return row

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = tuple(super().get_readonly_fields(request, obj))
        return (*fields, "about") if self.key_field and "about" not in fields else fields

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields, amounts of minor units as money, the label of the key first."""
        fields = [shown_as(self.model, name) for name in super().get_fields(request, obj)]
        if not self.key_field or self.fields:
            return fields
        return ["about", *(field for field in fields if field != "about")]

    @admin.display(description="about")
    def about(self, row: Any) -> Any:
        return keys.link(row, self.key_field)


class LabelledList(ChangeList):
    """A page of rows, each with the label of its key."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if field := getattr(self.model_admin, "key_field", ""):
            self.result_list = list(self.result_list)
            keys.put_labels(self.result_list, field)


def _is(model: type[models.Model], name: str, term: str) -> Q:
    """Return the condition that a column, or one of a related row (`event__key`), equals the typed text.

    Related rows are queried first: no index serves an OR of two tables.
    """
    name, _, further = name.partition("__")
    column: Any = model._meta.get_field(name)  # noqa: SLF001 - Django's documented API
    if not further:
        return Q(**{name: term}) if _fits(term, column) else Q(pk__in=[])
    rows = column.related_model._default_manager.filter(_is(column.related_model, further, term))  # noqa: SLF001
    return Q(**{f"{name}__in": list(rows.values_list("pk", flat=True))})


def shown_as(model: type[models.Model], field: Any) -> Any:
    if not isinstance(field, str) or not field.endswith("_minor"):
        return field
    return amount_column(field, label_of(model._meta.get_field(field)))  # noqa: SLF001 - Django's documented API


def label_of(column: Any) -> str:
    return str(column.verbose_name.replace(" (minor units)", "").removesuffix(" minor"))


class InspectInline(TabularInline):
    """Read-only rows on the page of another row."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
