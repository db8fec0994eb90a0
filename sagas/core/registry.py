"""What this process knows: sagas and subscriptions by name. Filled once, as the project's apps get ready."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .books import Check, Walk
from .errors import DefinitionError, UnknownSagaError
from .read_model import ReadModel
from .saga import Saga
from .subscription import Start, Subscription

_sagas: dict[str, Saga[Any]] = {}
_subscriptions: dict[str, Subscription] = {}
_dormant: list[Subscription] = []
_read_models: dict[str, ReadModel] = {}
_checks: dict[str, Check] = {}
_walks: dict[str, Walk] = {}


@dataclass(frozen=True, kw_only=True)
class KeyLabel:
    """What people call a key, and the page of what it stands for: order, S100123."""

    noun: str
    name: str
    url: str

    @property
    def text(self) -> str:
        """At the beginning of a sentence, or alone."""
        return f"{self.noun[:1].upper()}{self.noun[1:]} {self.name}"

    @property
    def in_text(self) -> str:
        return f"{self.noun} {self.name}"


@dataclass(frozen=True, kw_only=True)
class KeyNames:
    """What the project knows of keys; the engine knows none of it.

    Args:
        named: labels of those keys that have one.
        key_of: the key that has this name.
        example: what people type to find one, as in "the id or the number of an order".
        notes: by action ("cancel"), what it means outside the engine; added to the action's description.
    """

    named: Callable[[Collection[str]], Mapping[str, KeyLabel]]
    key_of: Callable[[str], str | None]
    example: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)


_key_names = KeyNames(named=lambda _: {}, key_of=lambda _: None)


def register(
    subscriptions: Iterable[Subscription],
    *,
    sagas: Iterable[Saga[Any]] = (),
    dormant: Iterable[Subscription] = (),
) -> None:
    """Make subscriptions, and the sagas they start, known.

    Args:
        sagas: whose runs go on, though nothing starts new ones.
        dormant: reactions of this code that are switched off: what they read is a contract all the same.

    Raises:
        DefinitionError: two of them share a name.
    """
    for one in sagas:
        _know(one)
    _dormant.extend(dormant)
    for subscription in subscriptions:
        if subscription.name in _subscriptions:
            raise DefinitionError(f"two subscriptions are called {subscription.name!r}")
        _subscriptions[subscription.name] = subscription
        if isinstance(subscription, Start):
            _know(subscription.saga)


def _know(saga: Saga[Any]) -> None:
    known = _sagas.setdefault(saga.name, saga)
    if known is not saga:
        raise DefinitionError(f"two sagas are called {known.name!r}")


@contextmanager
def only(subscriptions: Iterable[Subscription], *, sagas: Iterable[Saga[Any]] = ()) -> Iterator[None]:
    """Know these subscriptions, the sagas they start and these sagas, and nothing else, inside.

    Raises:
        DefinitionError: two of them share a name.
    """
    former, known = dict(_sagas), dict(_subscriptions)
    _sagas.clear()
    _subscriptions.clear()
    try:
        register(subscriptions, sagas=sagas)
        yield
    finally:
        _sagas.clear()
        _subscriptions.clear()
        _sagas.update(former)
        _subscriptions.update(known)


def name_keys(names: KeyNames) -> None:
    """Say what keys are called in this project."""
    global _key_names  # noqa: PLW0603 - like the other two, filled once
    _key_names = names


def named(keys: Collection[str]) -> Mapping[str, KeyLabel]:
    return _key_names.named(keys)


def key_of(text: str) -> str | None:
    return _key_names.key_of(text)


def key_example() -> str:
    """Return the end of a help text that asks for a key: " (the number of an order)"; empty without names."""
    return f" ({_key_names.example})" if _key_names.example else ""


def note_on(action: str) -> str:
    return _key_names.notes.get(action, "")


def saga(name: str) -> Saga[Any]:
    try:
        return _sagas[name]
    except KeyError:
        raise UnknownSagaError(f"no saga is called {name!r}; known: {', '.join(sorted(_sagas)) or 'none'}") from None


def sagas() -> list[Saga[Any]]:
    return list(_sagas.values())


def names() -> list[str]:
    return list(_sagas)


def subscription(name: str) -> Subscription | None:
    return _subscriptions.get(name)


def subscription_names() -> list[str]:
    return list(_subscriptions)


def subscriptions() -> list[Subscription]:
    return list(_subscriptions.values())


def reactions_to(event_type: str) -> list[Subscription]:
    return [subscription for subscription in _subscriptions.values() if event_type in subscription.events]


def readers_of(event_type: str) -> list[Subscription]:
    """Return all that reads events of a type, switched on or off; those of one name once."""
    readers = {subscription.name: subscription for subscription in (*_dormant, *_subscriptions.values())}
    return [subscription for subscription in readers.values() if event_type in subscription.events]


def register_read_models(models: Iterable[ReadModel]) -> None:
    """Make read models known.

    Raises:
        DefinitionError: two of them, or one and a subscription, share a name.
    """
    for model in models:
        if model.name in _read_models or model.name in _subscriptions:
            raise DefinitionError(f"two followers of the log are called {model.name!r}")
        _read_models[model.name] = model


def read_models() -> list[ReadModel]:
    return list(_read_models.values())


def read_model(name: str) -> ReadModel | None:
    return _read_models.get(name)


def register_checks(checks: Iterable[Check], walks: Iterable[Walk] = ()) -> None:
    """Make known what the reconciliation looks at, and the ways it walks.

    Raises:
        DefinitionError: two checks share a name, or two walks.
    """
    for check in checks:
        if check.name in _checks:
            raise DefinitionError(f"two checks are called {check.name!r}")
        _checks[check.name] = check
    for walk in walks:
        if walk.name in _walks:
            raise DefinitionError(f"two walks are called {walk.name!r}")
        _walks[walk.name] = walk


def checks() -> list[Check]:
    return list(_checks.values())


def check(name: str) -> Check | None:
    return _checks.get(name)


def walks() -> list[Walk]:
    return list(_walks.values())
