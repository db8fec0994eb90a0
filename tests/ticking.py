"""A clock that moves with each reading."""

from datetime import datetime, timedelta

from sagas.testing import MovableClock


class TickingClock(MovableClock):
    """Each reading is a tick later than the one before, so that no two moments are the same."""

    def __init__(self, *, tick: timedelta = timedelta(milliseconds=1)) -> None:
        super().__init__()
        self.tick = tick

    def __call__(self) -> datetime:
        self.time += self.tick
        return self.time
