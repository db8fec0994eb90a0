"""Settings of everything a benchmark starts: the shop's own, with e-mails thrown away."""

from shop.settings import *  # noqa: F403
from shop.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks"]

#: Rendered as always, then thrown away: a file for each message would measure the disk.
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"

#: The catalogue's pages and the API, and beside them the API's synchronous twin.
ROOT_URLCONF = "benchmarks.urls"
