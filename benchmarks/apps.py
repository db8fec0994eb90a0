import os

from django.apps import AppConfig

#: Set for processes that run the steps without our engine.
PEER = "BENCHMARK_PEER"


class BenchmarksConfig(AppConfig):
    name = "benchmarks"

    def ready(self) -> None:
        from sagas.log import outbox

        if PEER in os.environ:
            # Peers write the same events, but have no relay to wake: the message would be a needless cost.
            outbox.set_waker(lambda: None)
