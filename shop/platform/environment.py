"""Reads the environment for settings: an invalid value ends the process with one line that says why."""

import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit
from zoneinfo import ZoneInfo

import environ
from django.core.exceptions import ImproperlyConfigured

from backoffice.money import UnknownCurrency, currency_code
from sagas.conf import Setting, T

env = environ.Env()

_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def url(name: str, schemes: Sequence[str], example: str) -> str:
    found: str = env.str(name)
    scheme = found.partition(":")[0]
    if scheme not in schemes:
        # The rest may hold a password.
        refuse(name, f"a URL such as {example} is needed, not one that begins with {scheme[:20]!r}")
    return found


def redis_url(url: str, *, database: int | None = None) -> str:
    """Return kombu's address of a Redis in redis-py's form; empty if it is not one of a Redis.

    Args:
        database: number of another database of the same server.
    """
    parts = urlsplit(url)
    if parts.scheme == "redis+socket":
        theirs = parse_qs(parts.query).get("virtual_host", ["0"])[0].lstrip("/")
        password = {"password": unquote(parts.password)} if parts.password else {}
        asked = {"db": theirs if database is None else database, **password}
        return f"unix://{quote(parts.path)}?{urlencode(asked)}"
    if parts.scheme in ("redis", "rediss"):
        return url if database is None else parts._replace(path=f"/{database}").geturl()
    return url if parts.scheme == "unix" else ""


def required(name: str) -> str:
    try:
        found: str = env.str(name)
    except ImproperlyConfigured:
        refuse(name, "it has to be set")
    return found


def flag(name: str, *, default: bool) -> bool:
    found = env.str(name, default="on" if default else "off").strip().lower()
    if found not in (*_ON, *_OFF):
        refuse(name, f"on or off is needed, not {found!r}")
    return found in _ON


def listed(name: str, known: Sequence[str], *, default: str) -> tuple[str, ...]:
    """Return the listed words, separated by commas, in their order; each must be a known word."""
    found = tuple(word.strip() for word in env.str(name, default=default).split(","))
    if set(found) - set(known) or len(set(found)) < len(found):
        refuse(name, f"{' or '.join(known)}, or several separated by commas, is needed, not {','.join(found)!r}")
    return found


def number(name: str, *, default: float, minimum: float) -> float:
    """Return a finite number that is at least `minimum`."""
    found = env.str(name, default=str(default))
    try:
        value = float(found)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < minimum:
        refuse(name, f"a number from {minimum:g} on is needed, not {found!r}")
    return value


def whole(name: str, *, default: int, minimum: int) -> int:
    value = number(name, default=default, minimum=minimum)
    if value != int(value):
        refuse(name, f"a whole number is needed, not {value:g}")
    return int(value)


def matching(name: str, pattern: str, what: str, *, default: str) -> str:
    found: str = env.str(name, default=default)
    if not re.fullmatch(pattern, found):
        refuse(name, f"{what} is needed, not {found!r}")
    return found


def setting(of: Setting[T]) -> T:
    """Return the value of a setting of the engine, with its default and its limits."""
    default: Any = of.default
    if of.known:
        found: Any = env.str(of.name, default=default)
        if found not in of.known:
            refuse(of.name, f"{' or '.join(map(str, of.known))} is needed, not {found!r}")
        return found  # type: ignore[no-any-return]
    read: Any = whole if isinstance(default, int) else number
    return read(of.name, default=default, minimum=of.minimum)  # type: ignore[no-any-return]


def currency(name: str, *, default: str) -> str:
    """Return an ISO 4217 code in capitals."""
    try:
        return currency_code(env.str(name, default=default))
    except UnknownCurrency as unknown:
        refuse(name, str(unknown))


def time_zone(name: str, *, default: str) -> str:
    """Return the name of a time zone of the IANA database."""
    found: str = env.str(name, default=default)
    try:
        return ZoneInfo(found).key
    except (KeyError, ValueError, OSError):  # an unknown zone, an invalid path, or a folder such as Europe
        refuse(name, f"a time zone such as UTC or Europe/London is needed, not {found!r}")


def refuse(name: str, why: str) -> NoReturn:
    raise SystemExit(f"shop: {name}: {why}")
