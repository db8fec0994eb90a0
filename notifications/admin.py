"""Messages to customers in the admin, read only."""

from django.contrib import admin

from backoffice import keys
from backoffice.inspect import InspectAdmin, labelled

from .models import Notification


@admin.register(Notification)
class NotificationAdmin(InspectAdmin):
    """Messages to customers; one that cannot be sent is a parked delivery."""

    key_field = "order_id"
    list_display = ("queued_at", "recipient", "kind", "channel", "state", "sent_at", "about")
    list_filter = ("status", "kind")
    search_fields = ("id", "order_id")
    search_help_text = keys.searched("message id")
    ordering = ("-pk",)

    @labelled("status", {"queued": "info", "sent": "success"})
    def state(self, notification: Notification) -> str:
        return notification.status
