"""The pages and the API."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from .api.operations import api

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/", api.urls),
]
