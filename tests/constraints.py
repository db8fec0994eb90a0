"""The rules that the database itself holds, by the names they have in the models."""

from django.apps import apps


def named(app_label: str) -> set[str]:
    """Return the constraints of an app's tables."""
    return {
        constraint.name
        for model in apps.get_app_config(app_label).get_models()
        for constraint in model._meta.constraints
    }
