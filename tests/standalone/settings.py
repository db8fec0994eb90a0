"""A Django project that has the engine and a small app of its own, and nothing of the shop.

`STANDALONE` says what else it has. What it does not have cannot be imported: the engine needs none of it.

- `admin`: the admin with unfold, and all that these need.
- `auth`: users, but no admin.
- `bare`: nothing of `django.contrib`, and no rich, which `manage.py sagas` needs.
"""

import json
import os
import sys

STANDALONE = os.environ.get("STANDALONE", "admin")
missing = {
    "admin": ("ninja", "shop", "orders"),
    "auth": ("ninja", "shop", "orders", "unfold", "backoffice", "django.contrib.admin"),
    "bare": ("ninja", "shop", "orders", "unfold", "backoffice", "django.contrib.admin", "rich"),
}
sys.modules.update(dict.fromkeys(missing[STANDALONE]))  # type: ignore[arg-type]

INSTALLED_APPS = ["sagas", "tests.standalone.trips"]
if STANDALONE == "auth":
    INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", *INSTALLED_APPS]
if STANDALONE == "admin":
    INSTALLED_APPS = [
        "backoffice",
        "unfold",
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
        *INSTALLED_APPS,
    ]
    MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ]
    ROOT_URLCONF = "tests.standalone.urls"
    STATIC_URL = "static/"

DATABASES = {"default": json.loads(os.environ["STANDALONE_DATABASE"])}
SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["testserver"]
USE_TZ = True

CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "memory://")
# Every setting of the engine has a default; a test does not want to wait for this one.
SAGAS_RESEND_AFTER_SECONDS = 2.0
