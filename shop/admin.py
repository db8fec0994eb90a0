"""The pages of an order, which join the contexts: placing one, finding one, and why it stands where it stands.

The tables of each context have their pages in its own `admin.py`.
"""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django_celery_results.models import GroupResult, TaskResult
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from backoffice.customers import identity
from backoffice.inspect import CappedPaginator, InspectAdmin, ModelAdmin, TabularInline, labelled
from backoffice.money import decimals, formatted
from inventory import selectors as inventory
from orders import selectors as orders
from orders import services
from orders.errors import OrderRefused
from orders.models import Order, OrderLine, Product
from payments import selectors as payments
from sagas.admin.buttons import buttons_of_key
from sagas.db import clock
from sagas.operations import attention
from sagas.operations.attention import Why

from .models import CustomerOrder, SalesOfDay
from .pages.history_page import as_of
from .pages.order_form import LineForm, LineFormSet, OrderForm, ProductField
from .pages.order_page import Line, Shown, ago, poll_ms
from .pages.order_search import searched
from .story.attention import SUSPICIOUS_AFTER, of_orders
from .story.standing import Standing
from .story.timeline import story

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList
else:
    from unfold.views import ChangeList

admin.site.index_template = "shop/dashboard.html"

_STATUS_COLOURS = {"Pending": "info", "Confirmed": "success", "Rejected": "danger", "Cancelled": "warning"}


class AttentionFilter(admin.SimpleListFilter):
    """Orders that wait for a person."""

    title, parameter_name = "attention", "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Needs a person")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() != "yes":
            return queryset
        now = clock.now()
        stuck = Q(status=Order.Status.PENDING, placed_at__lt=now - SUSPICIOUS_AFTER)
        return queryset.filter(stuck | Q(id__in=[UUID(key) for key in attention.keys(now=now) if _is_uuid(key)]))


class OrderList(ChangeList):
    """Adds the journal's data to a page of orders: two queries for each page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        page = list(self.result_list)
        known = of_orders(page, now=clock.now())
        for order in page:
            order.marked = known.get(order.id)
        self.result_list = page


class LineInline(TabularInline):
    """The products of a new order."""

    model = OrderLine
    form = LineForm
    formset = LineFormSet
    fields = ("product", "quantity")
    autocomplete_fields = ("product",)
    extra = 3
    max_num = services.MAX_LINES
    verbose_name, verbose_name_plural = "product", "products"
    template_after = "shop/_total.html"

    def get_formset(self, request: Any, obj: Any = None, **kwargs: Any) -> Any:
        return super().get_formset(request, obj, validate_max=True, **kwargs)

    def formfield_for_foreignkey(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        kwargs |= {"queryset": Product.objects.filter(active=True), "form_class": ProductField}
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if field is not None:
            field.error_messages["invalid_choice"] = "There is no such product, or it is no longer for sale."
        return field

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "quantity":
            kwargs |= {"min_value": 1, "max_value": services.MAX_QUANTITY, "initial": 1}
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "product":
            # Without its links to add and change a product: an order is no place for that.
            field.widget = field.widget.widget
        return field

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("orders.add_order")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A row that was never saved can be removed from the page.
        return obj is None


@admin.register(Order)
class OrderAdmin(ModelAdmin):
    """Orders are placed and shown; they cannot be changed or deleted here."""

    form = OrderForm
    inlines = (LineInline,)
    add_form_template = "shop/place_order.html"
    fieldsets = (
        (None, {"fields": (("customer_name", "customer_email"), "payment_method", "form_key", "shown_total")}),
    )

    list_display = ("number", "customer", "state", "total", "age", "mark")
    list_filter = ("status", AttentionFilter, "placed_at")
    search_fields = ("number",)
    search_help_text = "A number or id, an imported invoice, a tracking number, a SKU, or words of a name or e-mail."
    ordering = ("-id",)
    list_per_page = 50
    paginator = CappedPaginator
    show_full_result_count = False
    sortable_by = ()
    actions = None

    # The list -----------------------------------------------------------------------------------------------------

    @admin.display(description="customer")
    def customer(self, order: Order) -> SafeString:
        return format_html(
            '<span class="shop-customer">{}<small>{}</small></span>', order.customer_name, order.customer_email
        )

    @labelled("status", _STATUS_COLOURS)
    def state(self, order: Order) -> str:
        return order.get_status_display()

    @admin.display(description="total")
    def total(self, order: Order) -> str:
        return formatted(order.total_minor, order.currency)

    @admin.display(description="age")
    def age(self, order: Order) -> SafeString:
        return ago(order.placed_at, now=clock.now())

    @admin.display(description="attention")
    def mark(self, order: Any) -> SafeString | str:
        if order.marked is None:
            return ""
        return format_html(
            '<span class="shop-mark" title="{0}"><span class="material-symbols-outlined" aria-hidden="true">warning'
            '</span>{1}<span class="sr-only">: {0}</span></span>',
            order.marked.text,
            ", ".join(order.marked.badges),
        )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return OrderList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return searched(queryset, search_term), False

    # Placing one --------------------------------------------------------------------------------------------------

    def get_form(self, request: Any, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.refused = getattr(request, "refused", None)
        return form

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "payment_method":
            return OrderForm.base_fields["payment_method"]
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def changeform_view(
        self, request: Any, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        extra_context = {"title": "Place an order", **(extra_context or {})}
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except OrderRefused as refused:
            # The transaction was rolled back; the form is shown again with the reason.
            request.refused = refused
            return super().changeform_view(request, object_id, form_url, extra_context)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        """Do nothing: an order is saved with its lines, in `save_related`."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001
        now = clock.now()
        placed = services.place(
            customer_email=form.cleaned_data["customer_email"],
            customer_name=form.cleaned_data["customer_name"],
            payment_method=form.cleaned_data["payment_method"],
            lines=formsets[0].requests(),
            now=now,
            idempotency_key=f"admin:{form.cleaned_data['form_key']}",
            expected_total_minor=form.cleaned_data["shown_total"],
        )
        form.instance.pk, form.instance.number = placed.pk, placed.number
        form.instance.is_repeat = placed.placed_at != now

    def construct_change_message(self, request: Any, form: Any, formsets: Any, add: bool = False) -> Any:  # noqa: FBT001, FBT002
        return [{"added": {}}]

    def log_addition(self, request: Any, obj: Any, message: Any) -> Any:
        return None if obj.is_repeat else super().log_addition(request, obj, message)

    def response_add(self, request: Any, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        self.message_user(request, f"Order {obj.number} is placed.", messages.SUCCESS)
        if not self.has_view_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        return HttpResponseRedirect(reverse("admin:orders_order_change", args=[obj.pk]))

    def prices(self, request: HttpRequest) -> JsonResponse:
        """Return the prices and the stock of the chosen products, for the page."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        ids = [int(pk) for pk in request.GET.getlist("product") if pk.isascii() and pk.isdigit() and len(pk) < 19]
        found = Product.objects.filter(pk__in=ids[:200], active=True)
        left = inventory.available(product.sku for product in found)
        return JsonResponse(
            {
                product.pk: {
                    "price_minor": product.price_minor,
                    "price": formatted(product.price_minor, product.currency),
                    "currency": product.currency,
                    "decimals": decimals(product.currency),
                    "available": left[product.sku],
                }
                for product in found
            }
        )

    # The page of one ----------------------------------------------------------------------------------------------

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path("prices/", wrap(never_cache(self.prices)), name="orders_order_prices"),
            path("<uuid:order_id>/story/", wrap(never_cache(self.story_view)), name="orders_order_story"),
            path("<uuid:order_id>/as-of/", wrap(never_cache(self.as_of_view)), name="orders_order_as_of"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        context = self._story(request, object_id)
        context |= self.admin_site.each_context(request) | {
            "title": f"Order {context['order'].number}",
            "opts": self.opts,
            "original": context["order"],
            "has_view_permission": True,
            "may_place": self.has_add_permission(request),
        }
        return TemplateResponse(request, "shop/order.html", context)

    def story_view(self, request: HttpRequest, order_id: UUID) -> HttpResponse:
        """Return the part of an order's page that changes; the page fetches it."""
        return TemplateResponse(request, "shop/_story.html", self._story(request, str(order_id)))

    def as_of_view(self, request: HttpRequest, order_id: UUID) -> HttpResponse:
        """Show the state of an order at a moment (`at`), and its changes from another moment (`since`)."""
        self._may_look(request)
        order = self.get_queryset(request).filter(pk=order_id).first()
        if order is None:
            raise Http404
        context = self.admin_site.each_context(request) | {
            "title": f"Order {order.number} as of a moment",
            "opts": self.opts,
            "original": order,
            "page": as_of(order_id, request.GET, now=clock.now()),
        }
        return TemplateResponse(request, "shop/as_of.html", context)

    def _may_look(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request) or request.method not in ("GET", "HEAD"):
            raise PermissionDenied

    def _story(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        self._may_look(request)
        order = orders.order(UUID(object_id)) if _is_uuid(object_id) else None
        if order is None:
            raise Http404
        now = clock.now()
        standing, entries = story(order.id, now=now)
        return {
            "order": order,
            "lines": [Line.of(line, order.currency) for line in order.lines.all()],
            "total": formatted(order.total_minor, order.currency),
            "method": payments.method_name(order.payment_method),
            "standing": standing,
            "poll_ms": poll_ms(standing, placed_at=order.placed_at, last_at=entries[-1].at, now=now),
            "entries": [Shown.of(entry, since=order.placed_at) for entry in entries],
            "links": [
                ("As of any moment", reverse("admin:orders_order_as_of", args=[order.pk])),
                *_links(request, standing),
            ],
            "acts": _acts(request, order),
        }


def _acts(request: HttpRequest, order: Order) -> list[tuple[str, str, str]]:
    """Return the actions this person may do now: label, address and effect of each button."""
    back, found = reverse("admin:orders_order_change", args=[order.pk]), []
    for facts, buttons in buttons_of_key(request, str(order.id), back=back):
        on = f" “{facts.step or facts.process}”"
        labels = {"cancel": "Cancel order", "undo": "Undo order", "pause": "Pause", "resume": "Resume"}
        found += [(labels.get(each.action, each.label + on), each.url, each.means) for each in buttons]
    return found


#: Labels of the links to what waits for a person.
_PAGES = {
    Why.PARKED: ("delivery", "Open what gave up"),
    Why.HELD_BACK: ("follower", "Open the paused"),
    Why.FINDING: ("finding", "Open the finding"),
}


def _links(request: Any, standing: Standing) -> list[tuple[str, str]]:
    """Return links to further pages, as far as the user may open them."""
    links = []
    for each in standing.attention:
        model, label = _PAGES.get(each.why, ("", ""))
        if model and request.user.has_perm(f"sagas.view_{model}"):
            links.append((f"{label} “{each.name}”", reverse(f"admin:sagas_{model}_change", args=[each.ref])))
    if standing.run_id is not None and request.user.has_perm("sagas.view_run"):
        links.append(("Technical details of the process", reverse("admin:sagas_run_change", args=[standing.run_id])))
    return links


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


# Tables of others, in the style of this site ----------------------------------------------------------------------

for _model in (TaskResult, GroupResult, User, Group):
    admin.site.unregister(_model)


@admin.register(SalesOfDay)
class SalesOfDayAdmin(InspectAdmin):
    """Sales by day and product; about a second behind."""

    list_display = ("day", "sku", "name", "orders", "quantity", "total")
    list_display_links = ("day", "sku")
    search_fields = ("sku",)
    search_help_text = "A whole SKU."
    ordering = ("-day", "sku")

    @admin.display(description="total")
    def total(self, row: SalesOfDay) -> str:
        return formatted(row.total_minor, row.currency)


@admin.register(CustomerOrder)
class CustomerOrderAdmin(InspectAdmin):
    """The orders of customers, as a read model holds them; about a second behind."""

    list_display = ("number", "customer_email", "state", "contents", "total", "paid", "tracking_number", "told_at")
    list_display_links = ("number",)
    search_fields = ("number", "customer_email", "order_id")
    search_help_text = "A whole number, e-mail or id."
    ordering = ("-placed_at",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return super().get_search_results(
            request, queryset, identity(search_term) if "@" in search_term else search_term
        )

    @labelled("status", {name.lower(): colour for name, colour in _STATUS_COLOURS.items()})
    def state(self, row: CustomerOrder) -> str:
        return row.status

    @admin.display(description="total")
    def total(self, row: CustomerOrder) -> str:
        return formatted(row.total_minor, row.currency)


@admin.register(TaskResult)
class TaskResultAdmin(InspectAdmin):
    """Results of Celery tasks that a person requested, and every failure."""

    list_display = ("task_name", "state", "date_done", "worker", "task_id")
    list_filter = ("status",)
    search_fields = ("task_id",)
    search_help_text = "A whole task id."
    ordering = ("-pk",)

    @labelled("status", {"SUCCESS": "success", "FAILURE": "danger", "STARTED": "info", "RETRY": "warning"})
    def state(self, result: TaskResult) -> str:
        return str(result.status)


@admin.register(User)
class ShopUserAdmin(UserAdmin, ModelAdmin):  # type: ignore[type-arg]
    """Users and their permissions."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class ShopGroupAdmin(GroupAdmin, ModelAdmin):
    """Permissions by role."""
