"""Deliveries in the admin."""

from django.contrib import admin
from django.utils.safestring import SafeString

from backoffice import keys
from backoffice.inspect import labelled

from ..models import Delivery
from ..operations.deliveries import DeliverySubject
from .act_admin import ActAdmin, actions_of
from .parts import SubscriptionFilter, failed_tries

_COLOURS = {"pending": "info", "running": "info", "done": "success", "parked": "danger", "failed": "warning"}


@admin.register(Delivery)
class DeliveryAdmin(ActAdmin):
    """Events owed to reactions. A parked one has no tries left and waits for a person."""

    kind = DeliverySubject
    key_field = "key"
    list_display = ("id", "subscription", "event_type", "state", "attempts", "retry_at", "about", "fault")
    list_display_links = ("id", "subscription")
    list_filter = ("status", SubscriptionFilter)
    list_select_related = ("event",)
    search_fields = ("id", "event__key")
    search_help_text = keys.searched("delivery id")
    ordering = ("-pk",)
    actions = actions_of(DeliverySubject)
    filters = {"status__exact": "status", "subscription": "process", "q": "key"}
    exclude = ("lease_token",)
    readonly_fields = ("failed_tries", "interventions")

    @admin.display(description="event")
    def event_type(self, delivery: Delivery) -> str:
        return delivery.event.type

    @labelled("status", _COLOURS)
    def state(self, delivery: Delivery) -> str:
        return delivery.get_status_display()

    @admin.display(description="error")
    def fault(self, delivery: Delivery) -> str:
        return delivery.error[:80]

    @admin.display(description="failed tries")
    def failed_tries(self, delivery: Delivery) -> SafeString:
        return failed_tries(delivery.tries.order_by("failed_at"))
