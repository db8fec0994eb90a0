"""Icons, tones and moments for the templates."""

from datetime import datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from sagas.db import clock
from shop.pages import timeline_lines

register = template.Library()


@register.filter
def tone(status: str) -> str:
    return timeline_lines.tone(status)


@register.filter
def icon(status: str) -> SafeString:
    return symbol(timeline_lines.icon(status))


@register.simple_tag
def symbol(name: str) -> SafeString:
    """Return an icon; a text beside it has the same meaning."""
    return format_html('<span class="material-symbols-outlined shop-icon" aria-hidden="true">{}</span>', name)


@register.simple_tag
def until(at: datetime) -> SafeString:
    """Return when something is due; a script counts down while the page is open."""
    return format_html(
        'at {} <time data-until datetime="{}"></time>', f"{timezone.localtime(at):%H:%M:%S %Z}", at.isoformat()
    )


@register.filter
def ago(at: datetime) -> SafeString:
    return timeline_lines.ago(at, now=clock.now())
