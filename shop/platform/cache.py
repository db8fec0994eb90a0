"""A cache in Redis for data that rarely changes: valid until the write-ahead log has a change, or until a timeout.

Settings take this module's configuration, so it imports nothing of Django before it is used.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import structlog

logger = structlog.get_logger(__name__)

T = TypeVar("T")

#: A cache that does not answer at once is slower than the database.
_PATIENCE_SECONDS = 0.25


def config(url: str) -> dict[str, Any]:
    """Return the entry for Django's CACHES; without a Redis nothing is cached."""
    if not url:
        return {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": url,
        "KEY_PREFIX": "shop",
        "OPTIONS": {
            "serializer": "shop.platform.cache.Json",
            "socket_timeout": _PATIENCE_SECONDS,
            "socket_connect_timeout": _PATIENCE_SECONDS,
        },
    }


class Json:
    """The serializer of values: JSON, so that reading a value cannot execute code."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


class Cached:
    """Cached answers about one subject; all are invalidated together.

    Note [Generations]: a process that reads the database before a change and writes the cache after the invalidation
    would restore the old answer. So an answer is valid only in the generation in which it was requested, and an
    invalidation begins a new generation.
    """

    def __init__(self, name: str, *, seconds: int) -> None:
        self.name, self.seconds = name, seconds

    def get(self, question: str, read: Callable[[], T]) -> T:
        """Return the cached value, or read and cache it; without Redis only read it. JSON types only."""
        from django.core.cache import cache

        generation_key, key = f"{self.name}:generation", f"{self.name}:{question}"
        try:
            found = cache.get_many([generation_key, key])
            generation = found.get(generation_key) or self._generation_of(generation_key)
        except Exception as error:  # noqa: BLE001 - on any error of the cache the database answers
            logger.warning("not_cached", name=self.name, error=str(error))
            return read()
        kept = found.get(key)
        if kept is not None and kept["generation"] == generation:
            answer: T = kept["answer"]
            return answer
        answer = read()
        try:
            cache.set(key, {"generation": generation, "answer": answer}, self.seconds)
        except Exception as error:  # noqa: BLE001
            logger.warning("not_cached", name=self.name, error=str(error))
        return answer

    def forget(self) -> None:
        """Invalidate every answer that was requested before now.

        Raises:
            redis.RedisError: the answers may still be valid.
        """
        from django.core.cache import cache

        cache.set(f"{self.name}:generation", _new_generation(), None)

    def _generation_of(self, key: str) -> str:
        from django.core.cache import cache

        cache.add(key, _new_generation(), None)
        generation: str = cache.get(key)
        return generation


def _new_generation() -> str:
    """Return a new name of a generation, unique also after the cache has lost its data."""
    from sagas.core.ids import new_id

    return str(new_id())
