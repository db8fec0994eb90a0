from django.apps import AppConfig


class SagasConfig(AppConfig):
    name = "sagas"
    verbose_name = "Processes"

    def ready(self) -> None:
        from . import checks, outbox, tasks

        checks.register_checks()

        outbox.on_commit_call(tasks.wake_relay)
