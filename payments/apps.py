from django.apps import AppConfig
from django.core.checks import register


class PaymentsConfig(AppConfig):
    name = "payments"
    verbose_name = "Money"

    def ready(self) -> None:
        from .gateway import check_gateway

        register(check_gateway)
