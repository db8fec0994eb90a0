"""The definitions this process knows, by name: sagas, subscriptions, read models, checks, watched tables.

A project fills the current registry once, in the `ready` of its app config:

    registry.register([starts(book_trip), on_trip_booked], read_models=[TRIPS])

The functions of this module ask the current registry. A test that wants another one makes it, and uses it:

    with Registry([starts(saga)]).active():
        ...
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, Unpack

from .books import Check, Walk
from .errors import DefinitionError, UnknownSagaError
from .key_names import KeyLabel, KeyNames
from .read_model import ReadModel
from .saga import Saga
from .subscription import Start, Subscription

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Audited:
    """A table whose changes are kept as an audit trail.

    Without REPLICA IDENTITY FULL the trail has only the new values of rows, not the old ones.

    Attributes:
        key: the column of its primary key.
        name: the column with the label of a row; empty if its key is its label.
    """

    table: str
    key: str = "id"
    name: str = ""


class Definitions(TypedDict, total=False):
    """The definitions a project registers beside its subscriptions."""

    #: Sagas whose open runs continue although no subscription starts new ones. Sagas of subscriptions need not be
    #: repeated.
    sagas: Iterable[Saga[Any]]
    #: Subscriptions of this code that are switched off. The events they read are contracts too.
    dormant: Iterable[Subscription]
    read_models: Iterable[ReadModel]
    #: The checks of the reconciliation, and its walks through keys.
    checks: Iterable[Check]
    walks: Iterable[Walk]
    #: The tables of the audit trail (`manage.py changes`).
    audited: Iterable[Audited]
    #: By table, the function that `manage.py changes` calls when its rows have changed: once or more often, after the
    #: commit. A failed call is made again.
    on_change: Mapping[str, Callable[[], None]]
    #: The labels of keys.
    key_names: KeyNames


class Registry:
    """Definitions by name. A name is unique among things of one kind; subscriptions and read models count as one."""

    def __init__(self, subscriptions: Iterable[Subscription] = (), **more: Unpack[Definitions]) -> None:
        self.sagas: dict[str, Saga[Any]] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.dormant: list[Subscription] = []
        self.read_models: dict[str, ReadModel] = {}
        self.checks: dict[str, Check] = {}
        self.walks: dict[str, Walk] = {}
        self.audited: dict[str, Audited] = {}
        self.on_change: dict[str, Callable[[], None]] = {}
        self.key_names = KeyNames()
        self.register(subscriptions, **more)

    def register(self, subscriptions: Iterable[Subscription] = (), **more: Unpack[Definitions]) -> None:
        """Add definitions. May be called several times, by several apps.

        The relay serves subscriptions in the order in which they were registered.

        Idempotent: the same definition may be registered again (Django's `override_settings(INSTALLED_APPS=...)` calls
            `ready` again).

        Raises:
            DefinitionError: another definition of that kind has the name, or a subscription has the name of a read
                model.
        """
        for saga in more.get("sagas", ()):
            _add("saga", self.sagas, saga.name, saga)
        for subscription in subscriptions:
            _refuse_taken("read model", self.read_models, subscription.name)
            _add("subscription", self.subscriptions, subscription.name, subscription)
            if isinstance(subscription, Start):
                _add("saga", self.sagas, subscription.saga.name, subscription.saga)
        self.dormant.extend(one for one in more.get("dormant", ()) if one not in self.dormant)
        for model in more.get("read_models", ()):
            _refuse_taken("subscription", self.subscriptions, model.name)
            _add("read model", self.read_models, model.name, model)
        for check in more.get("checks", ()):
            _add("check", self.checks, check.name, check)
        for walk in more.get("walks", ()):
            _add("walk", self.walks, walk.name, walk)
        for table in more.get("audited", ()):
            _add("audited table", self.audited, table.table, table)
        for name, call in more.get("on_change", {}).items():
            _add("call on change", self.on_change, name, call)
        self.key_names = more.get("key_names", self.key_names)

    def rewired(self, subscriptions: Iterable[Subscription], *, sagas: Iterable[Saga[Any]] = ()) -> "Registry":
        """Return a registry with these subscriptions and sagas; its other definitions are those of this one.

        Raises:
            DefinitionError: two of them share a name.
        """
        return Registry(
            subscriptions,
            sagas=sagas,
            dormant=self.dormant,
            read_models=self.read_models.values(),
            checks=self.checks.values(),
            walks=self.walks.values(),
            audited=self.audited.values(),
            on_change=self.on_change,
            key_names=self.key_names,
        )

    @contextmanager
    def active(self) -> Iterator["Registry"]:
        """Make this the current registry of the process in the `with` block; afterwards the former one is."""
        former = activate(self)
        try:
            yield self
        finally:
            activate(former)


def _add(kind: str, known: dict[str, T], name: str, thing: T) -> None:
    if known.setdefault(name, thing) != thing:
        raise DefinitionError(f"another {kind} called {name!r} is registered already")


def _refuse_taken(kind: str, known: Mapping[str, object], name: str) -> None:
    if name in known:
        raise DefinitionError(f"a {kind} called {name!r} is registered already")


_current = Registry()


def current() -> Registry:
    """Return the current registry of this process."""
    return _current


def activate(registry: Registry) -> Registry:
    """Make `registry` the current one of this process; return the one it replaces."""
    global _current
    former, _current = _current, registry
    return former


def register(subscriptions: Iterable[Subscription] = (), **more: Unpack[Definitions]) -> None:
    """Add definitions to the current registry: `Registry.register`."""
    _current.register(subscriptions, **more)


# Questions to the current registry -----------------------------------------------------------------------------------


def saga(name: str) -> Saga[Any]:
    """Return a saga.

    Raises:
        UnknownSagaError: this process has no saga of that name.
    """
    try:
        return _current.sagas[name]
    except KeyError:
        known = ", ".join(sorted(_current.sagas)) or "none"
        raise UnknownSagaError(f"no saga is called {name!r}; known: {known}") from None


def sagas() -> list[Saga[Any]]:
    return list(_current.sagas.values())


def names() -> list[str]:
    """Return the names of all sagas."""
    return list(_current.sagas)


def subscription(name: str) -> Subscription | None:
    return _current.subscriptions.get(name)


def subscription_names() -> list[str]:
    return list(_current.subscriptions)


def is_switched_off(name: str) -> bool:
    """Say whether this code has a reaction of this name that is switched off in this process."""
    return name not in _current.subscriptions and any(one.name == name for one in _current.dormant)


def subscriptions() -> list[Subscription]:
    return list(_current.subscriptions.values())


def reactions_to(event_type: str) -> list[Subscription]:
    return [subscription for subscription in subscriptions() if event_type in subscription.events]


def readers_of(event_type: str) -> list[Subscription]:
    """Return the subscriptions that read events of a type, dormant ones too; one for each name."""
    readers = {subscription.name: subscription for subscription in (*_current.dormant, *subscriptions())}
    return [subscription for subscription in readers.values() if event_type in subscription.events]


def read_models() -> list[ReadModel]:
    return list(_current.read_models.values())


def read_model(name: str) -> ReadModel | None:
    return _current.read_models.get(name)


def checks() -> list[Check]:
    return list(_current.checks.values())


def check(name: str) -> Check | None:
    return _current.checks.get(name)


def walks() -> list[Walk]:
    return list(_current.walks.values())


def audited() -> Mapping[str, Audited]:
    return _current.audited


def on_change() -> Mapping[str, Callable[[], None]]:
    return _current.on_change


def named(keys: Collection[str]) -> Mapping[str, KeyLabel]:
    return _current.key_names.named(keys)


def key_of(text: str) -> str | None:
    return _current.key_names.key_of(text)


def key_example() -> str:
    """Return the end of a help text for a key: " (the number of a trip)"; empty without names."""
    example = _current.key_names.example
    return f" ({example})" if example else ""


def note_on(action: str) -> str:
    return _current.key_names.notes.get(action, "")


def shown_facts(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return _current.key_names.shown_facts(facts)
