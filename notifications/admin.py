"""Messages to customers in the admin, read only."""

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from backoffice import keys
from backoffice.inspect import InspectAdmin, labelled

from .channels import CHANNELS
from .errors import NotRendered
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
    #: Shown as the rendered message.
    exclude = ("context",)
    change_form_before_template = "notifications/admin/message.html"

    class Media:
        css = {"all": ["notifications/message.css"]}

    @labelled("status", {"queued": "info", "sent": "success"})
    def state(self, notification: Notification) -> str:
        return notification.status

    def render_change_form(  # noqa: PLR0917
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,  # noqa: FBT001, FBT002 - as Django has it
        change: bool = False,  # noqa: FBT001, FBT002
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        try:
            context["rendered"] = CHANNELS[obj.channel].render(obj)
        except NotRendered as error:
            context["not_rendered"] = error
        context["filled_with"] = json.dumps(obj.context, indent=2, ensure_ascii=False)
        return super().render_change_form(request, context, add, change, form_url, obj)
