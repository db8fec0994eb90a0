"""How often and when to try again: exponential backoff with full jitter, as rows due later (never Celery's eta)."""

import math
import random
from dataclasses import dataclass
from datetime import timedelta

#: Maximum pause that another system can ask for: one day.
MAX_ASKED_SECONDS = 86_400.0
#: Any pause has reached its cap by then, and a float can still hold the product.
_MAX_DOUBLINGS = 100


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A policy: `attempts` tries in all, the n-th pause drawn from 0 to min(cap, base x 2^(n-1)) seconds.

    Args:
        try_seconds: how long one try may take before it is cut short (`TryTimedOut`); the setting
            `SAGAS_TRY_SECONDS` unless told otherwise.
    """

    attempts: int = 5
    base_seconds: float = 1.0
    cap_seconds: float = 60.0
    try_seconds: float | None = None

    def allows(self, attempts_made: int) -> bool:
        return attempts_made < self.attempts

    def pause(self, attempts_made: int, *, asked_seconds: float | None = None) -> timedelta:
        """Return how long to wait after the given number of failed attempts (1, 2, …).

        The draw goes from nothing to the ceiling ("full jitter"), so that runs that failed together come back apart.

        Args:
            asked_seconds: what the other side asked for; it is used instead.

        Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
        """
        if asked_seconds is not None and not math.isnan(asked_seconds):
            return timedelta(seconds=min(max(asked_seconds, 0.0), MAX_ASKED_SECONDS))
        ceiling = min(self.cap_seconds, self.base_seconds * 2 ** min(attempts_made - 1, _MAX_DOUBLINGS))
        return timedelta(seconds=random.uniform(0, ceiling))  # noqa: S311 - no secret


#: For work that must get through in the end, such as a message to a person: about an hour of tries.
PATIENT = Retry(attempts=17, base_seconds=2, cap_seconds=900)
