"""Users of the back office, and their browsers."""

from uuid import uuid4

from django.contrib.auth.models import Permission, User
from django.test import Client
from factory.declarations import LazyFunction, Trait
from factory.django import DjangoModelFactory


class StaffFactory(DjangoModelFactory[User]):
    """A user of the back office without a permission; with `boss=True`, a superuser."""

    class Meta:
        model = User

    class Params:
        boss = Trait(is_superuser=True)

    username = LazyFunction(lambda: str(uuid4()))
    is_staff = True


def browser_of(user: User) -> Client:
    """Return a browser in which the user is logged in."""
    client = Client()
    client.force_login(user)
    return client


def allowed(*permissions: str) -> Client:
    """Return the browser of a user with these permissions only, each as `sagas.view_run`."""
    user = StaffFactory.create()
    for permission in permissions:
        app, _, codename = permission.partition(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return browser_of(user)


def browser_of_the_boss() -> Client:
    """Return the browser of a superuser called `boss`."""
    return browser_of(StaffFactory.create(username="boss", boss=True))
