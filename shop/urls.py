"""The pages and the API."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import path
from django.views.generic import RedirectView

from .api.operations import api

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    # Browsers request it if a page names no icon.
    path("favicon.ico", RedirectView.as_view(url=static("shop/icon.svg"))),
    path("admin/", admin.site.urls),
    path("api/", api.urls),
]
