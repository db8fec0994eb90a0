"""The frame of the admin: its name and its navigation by context. The settings take it from here."""

from collections.abc import Callable
from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy


def _may_view(model: str) -> Callable[[Any], bool]:
    app, _, name = model.partition(".")

    def allowed(request: Any) -> bool:
        return any(request.user.has_perm(f"{app}.{action}_{name}") for action in ("view", "change"))

    return allowed


def _item(title: str, icon: str, model: str) -> dict[str, Any]:
    link = reverse_lazy(f"admin:{model.replace('.', '_')}_changelist")
    return {"title": title, "icon": icon, "link": link, "permission": _may_view(model)}


def _is_of_interventions(request: Any) -> bool:
    """The address of the work queue begins with theirs."""
    return str(request.resolver_match.url_name).startswith("sagas_intervention")


def _group(title: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "separator": True, "items": list(items)}


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Shop",
    "SITE_HEADER": "Shop",
    "SITE_SUBHEADER": "Orders that never get stuck",
    "SITE_SYMBOL": "storefront",
    "SITE_URL": None,
    "SHOW_HISTORY": False,
    "DASHBOARD_CALLBACK": "shop.pages.dashboard.dashboard",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("shop/icon.svg")}],  # noqa: ARG005
    "STYLES": [lambda request: static("backoffice/pages.css"), lambda request: static("shop/order.css")],  # noqa: ARG005
    "SCRIPTS": [lambda request: static("backoffice/pages.js")],  # noqa: ARG005
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": [
            _group(
                "Orders",
                _item("Orders", "receipt_long", "orders.order"),
                _item("Products", "sell", "orders.product"),
            ),
            _group(
                "Warehouse",
                _item("Stock", "inventory_2", "inventory.stockitem"),
                _item("Reservations", "bookmark", "inventory.reservation"),
                _item("Parcels", "local_shipping", "inventory.parcel"),
            ),
            _group(
                "Money",
                _item("Payments", "payments", "payments.payment"),
                _item("Credit accounts", "credit_score", "payments.creditaccount"),
                _item("Credit holds", "lock", "payments.credithold"),
                _item("Provider's books", "menu_book", "payments.fakecharge"),
            ),
            _group("Messages", _item("Messages", "mail", "notifications.notification")),
            _group(
                "Figures",
                _item("Sales by day", "bar_chart", "shop.salesofday"),
                _item("As customers see them", "visibility", "shop.customerorder"),
            ),
            _group(
                "Processes",
                _item("Work queue", "front_hand", "sagas.run") | {"link": reverse_lazy("admin:sagas_queue")},
                _item("Findings", "balance", "sagas.finding"),
                _item("Runs", "route", "sagas.run"),
                _item("Events", "history", "sagas.event"),
                _item("Followers of the log", "dynamic_feed", "sagas.follower"),
                _item("Deliveries", "outbox", "sagas.delivery"),
                _item("Interventions", "history_edu", "sagas.intervention") | {"active": _is_of_interventions},
                _item("Audit trail", "manage_search", "sagas.auditrecord"),
                _item("Task results", "task_alt", "django_celery_results.taskresult"),
            ),
            _group("People", _item("Users", "person", "auth.user"), _item("Groups", "group", "auth.group")),
        ],
    },
}
