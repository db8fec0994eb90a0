"""What is read often and changes rarely, kept in Redis until the write-ahead log tells of a change, or it is old.

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
    """How values lie in Redis: as in messages, nothing that could run when it is read."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


class Cached:
    """Answers to questions about something; all of them are forgotten together.

    Note [Generations]: who reads the database before a change and writes the cache after it was forgotten would bring
    the old answer back. So an answer counts only in the generation in which its question was asked, and to forget is to
    begin another.
    """

    def __init__(self, name: str, *, seconds: int) -> None:
        self.name, self.seconds = name, seconds

    def get(self, question: str, read: Callable[[], T]) -> T:
        """Return what is cached, or read and keep it; without its Redis the cache is not there. JSON's types only."""
        from django.core.cache import cache

        generation_key, key = f"{self.name}:generation", f"{self.name}:{question}"
        try:
            found = cache.get_many([generation_key, key])
            generation = found.get(generation_key) or self._begin(generation_key)
        except Exception as error:  # noqa: BLE001 - whatever the cache says: the database knows
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
        """Have every answer read anew that was asked for before now.

        Raises:
            redis.RedisError: it may not be forgotten.
        """
        from django.core.cache import cache

        cache.set(f"{self.name}:generation", _new_generation(), None)

    def _begin(self, key: str) -> str:
        from django.core.cache import cache

        cache.add(key, _new_generation(), None)
        generation: str = cache.get(key)
        return generation


def _new_generation() -> str:
    """Return what no generation was called before, also if the cache has lost its memory."""
    from sagas.core.ids import new_id

    return str(new_id())
