"""The shop's addresses, and the API's synchronous twin."""

from django.urls import include, path

from . import views

urlpatterns = [
    path("synchronous/orders", views.place_and_fulfil),
    path("", include("shop.urls")),
]
