"""A clock that goes on by itself."""

from datetime import datetime, timedelta

from sagas.testing import MovableClock


class TickingClock(MovableClock):
    """Goes on a little whenever somebody looks, so that no two moments are the same."""

    def __init__(self, *, tick: timedelta = timedelta(milliseconds=1)) -> None:
        super().__init__()
        self.tick = tick

    def __call__(self) -> datetime:
        self.time += self.tick
        return self.time
