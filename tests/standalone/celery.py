"""The Celery application of the project: `celery -A tests.standalone worker --beat -Q sagas,relay,trips`."""

import os

from celery import Celery

from sagas.messaging.schedule import beat_schedule

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.standalone.settings")

app = Celery("standalone")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = beat_schedule()
