from django.apps import AppConfig


class SagasConfig(AppConfig):
    name = "sagas"
    verbose_name = "Processes"

    def ready(self) -> None:
        from . import checks  # noqa: F401 - registers itself
        from . import outbox, tasks

        outbox.on_commit_call(tasks.wake_relay)
