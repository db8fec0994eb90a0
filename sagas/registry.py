"""What this process knows: sagas and subscriptions by name. Filled once, as the project's apps get ready."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .definition import Saga
from .errors import DefinitionError, UnknownSagaError
from .subscriptions import Start, Subscription

_sagas: dict[str, Saga[Any]] = {}
_subscriptions: dict[str, Subscription] = {}


@dataclass(frozen=True, kw_only=True)
class Named:
    """What people call a key, and the page of what it stands for."""

    text: str
    url: str


@dataclass(frozen=True, kw_only=True)
class KeyNames:
    """What the project knows of keys; the engine knows none of it.

    Args:
        named: names of those keys that have one.
        key_of: the key of what people call so.
    """

    named: Callable[[Collection[str]], Mapping[str, Named]]
    key_of: Callable[[str], str | None]


_key_names = KeyNames(named=lambda _: {}, key_of=lambda _: None)


def register(subscriptions: Iterable[Subscription]) -> None:
    """Make subscriptions, and the sagas they start, known.

    Raises:
        DefinitionError: two of them share a name.
    """
    for subscription in subscriptions:
        if subscription.name in _subscriptions:
            raise DefinitionError(f"two subscriptions are called {subscription.name!r}")
        _subscriptions[subscription.name] = subscription
        if isinstance(subscription, Start):
            known = _sagas.setdefault(subscription.saga.name, subscription.saga)
            if known is not subscription.saga:
                raise DefinitionError(f"two sagas are called {known.name!r}")


def name_keys(names: KeyNames) -> None:
    """Say what keys are called in this project."""
    global _key_names  # noqa: PLW0603 - like the other two, filled once
    _key_names = names


def named(keys: Collection[str]) -> Mapping[str, Named]:
    return _key_names.named(keys)


def key_of(text: str) -> str | None:
    return _key_names.key_of(text)


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
    return [subscription for subscription in _subscriptions.values() if subscription.event.type == event_type]
