"""Admin pages that edit rows while orders are running."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

from typing import Any

from django.db import connection
from django.http import HttpRequest

from .inspect import CappedPaginator, ModelAdmin, label_of, shown_as
from .money_fields import CurrencyField, MoneyField, MoneyForm


class EditAdmin(ModelAdmin):
    """Rows to edit while orders are running: locked while they are saved, and only the changed fields are written.

    Money is typed as decimal amounts, and stored in minor units. Rows cannot be deleted: orders refer to them.
    """

    form: Any = MoneyForm
    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 50

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row = super().get_object(request, object_id, from_field)
        if row is not None and request.method == "POST" and connection.in_atomic_block:
            return self.get_queryset(request).select_for_update(no_key=True).get(pk=row.pk)
        return row

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        obj.save(update_fields=form.changed_data if change else None)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_fields(request, obj)
        may_type = obj is None or self.has_change_permission(request, obj)
        return fields if may_type else [shown_as(self.model, name) for name in fields]

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name.endswith("_minor"):
            return MoneyField(label=label_of(db_field).capitalize())
        if db_field.name == "currency":
            return CurrencyField(max_length=db_field.max_length)
        return super().formfield_for_dbfield(db_field, request, **kwargs)
