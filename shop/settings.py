"""Settings of the shop, all from the environment; docs/settings.md lists every variable.

With no `DATABASE_URL` and no `CELERY_BROKER_URL` the shop runs on its embedded servers (see `embedded/`):
that is the development set-up. Importing this module starts nothing.
"""

from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from kombu import Exchange, Queue

import embedded
from sagas.conf import Conf

from .outward import receivers
from .pages import navigation
from .platform import cache, database, environment, logs, secret_key
from .platform.environment import env

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = environment.flag("DEBUG", default=False)
EMBEDDED = "DATABASE_URL" not in env
#: Redirects to https and marks cookies secure; off on the embedded servers, where there is no TLS.
HTTPS = environment.flag("HTTPS", default=not (DEBUG or EMBEDDED))
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
LOG_LEVEL = environment.matching(
    "LOG_LEVEL", "(?i)debug|info|warning|error|critical", "debug, info, warning, error or critical", default="INFO"
).upper()
SECRET_KEY = environment.required("SECRET_KEY") if "SECRET_KEY" in env or not EMBEDDED else secret_key.drawn_once()


def _database() -> dict[str, Any]:
    example = "postgresql://user:password@host:5432/shop"
    url = environment.url("DATABASE_URL", ("postgres", "postgresql"), example)
    try:
        return dict(env.db_url_config(url))
    except (ImproperlyConfigured, ValueError):
        environment.refuse("DATABASE_URL", f"a URL such as {example} is needed")


DATABASES: dict[str, dict[str, Any]] = {"default": embedded.database() if EMBEDDED else _database()}
DATABASES["default"] |= {
    # One connection for the life of a process, checked before use: decision 0005.
    "CONN_MAX_AGE": 300,
    "CONN_HEALTH_CHECKS": True,
    "ATOMIC_REQUESTS": False,
}
DATABASES["default"]["OPTIONS"] = database.session_options(
    DATABASES["default"].get("OPTIONS", {}),
    idle_in_transaction_seconds=environment.number("DATABASE_IDLE_IN_TRANSACTION_SECONDS", default=30.0, minimum=0),
    for_server=environment.flag("DATABASE_SESSION_SETTINGS", default=True),
)

# Applications ---------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    # Before unfold, whose templates it extends.
    "backoffice",
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_structlog",
    "django_celery_results",
    "ninja",
    "sagas",
    "orders",
    "inventory",
    "payments",
    "notifications",
    "shop",
]

MIDDLEWARE = [
    "shop.api.problems.ApiMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "shop.platform.middleware.CorrelationMiddleware",
]

ROOT_URLCONF = "shop.urls"
#: The page after a login without a `next` parameter.
LOGIN_REDIRECT_URL = "admin:index"
WSGI_APPLICATION = "shop.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

#: An order of 1,000 lines, as many as the API takes, in the admin's form: four fields a line.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 5000

LANGUAGE_CODE = "en-us"
#: The time zone of reports and pages; the database, the API, the terminal and logs use UTC.
TIME_ZONE = environment.time_zone("TIME_ZONE", default="UTC")
USE_TZ = True
FORMAT_MODULE_PATH = "shop.formats"
STATIC_URL = "static/"
# Static files are served from their packages: no STATIC_ROOT and no collectstatic are needed.
WHITENOISE_USE_FINDERS = True

if HTTPS:
    SECURE_SSL_REDIRECT = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

#: How the admin looks.
UNFOLD = navigation.UNFOLD

# The shop --------------------------------------------------------------------------------------------------------

API_TOKEN = env.str("API_TOKEN", default="")
#: Ways to coordinate orders. The first one starts new orders; a second one finishes the orders it started before the
#: change.
SHOP_COORDINATION = environment.listed("SHOP_COORDINATION", ("saga", "choreography"), default="saga")
CURRENCY = environment.currency("CURRENCY", default="GBP")

#: Mail: a real server when EMAIL_HOST is set, otherwise files under var/mail, one for each message.
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
EMAIL_HOST = env.str("EMAIL_HOST", default="")
EMAIL_PORT = environment.whole("EMAIL_PORT", default=25, minimum=1)
EMAIL_HOST_USER = env.str("EMAIL_HOST_USER", default="")
EMAIL_HOST_PASSWORD = env.str("EMAIL_HOST_PASSWORD", default="")
EMAIL_USE_TLS = environment.flag("EMAIL_USE_TLS", default=False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="The shop <shop@localhost>")
if not EMAIL_HOST:
    EMAIL_BACKEND = "shop.platform.mail.MailFolder"
    EMAIL_FILE_PATH = embedded.var() / "mail"

#: The payment provider: a class with the methods of `payments.gateway.Gateway`.
PAYMENTS_GATEWAY = env.str("PAYMENTS_GATEWAY", default="payments.gateways.fake.FakeGateway")
#: How long the payment provider may take to answer before its answer counts as lost.
PAYMENTS_TIMEOUT_SECONDS = environment.number("PAYMENTS_TIMEOUT_SECONDS", default=1.0, minimum=0.01)

# The engine ------------------------------------------------------------------------------------------------------

# sagas/conf.py has the meaning and the default of each.

SAGAS_RESEND_AFTER_SECONDS = environment.setting(Conf.RESEND_AFTER_SECONDS)
SAGAS_LEASE_SECONDS = environment.setting(Conf.LEASE_SECONDS)
SAGAS_TRY_SECONDS = environment.setting(Conf.TRY_SECONDS)
SAGAS_BATCH_SIZE = environment.setting(Conf.BATCH_SIZE)
SAGAS_RELAY = environment.setting(Conf.RELAY)
SAGAS_RECONCILE_SECONDS = environment.setting(Conf.RECONCILE_SECONDS)

# Celery: each value has its reason in docs/decisions/0001 and 0006 ----------------------------------------------

CELERY_BROKER_URL = (
    environment.url("CELERY_BROKER_URL", ("redis", "rediss", "redis+socket", "amqp", "amqps"), "redis://host:6379/0")
    if "CELERY_BROKER_URL" in env
    else embedded.broker_url()
)
if CELERY_BROKER_URL.startswith("redis"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        # Longer than any step may take; the clock starts when a worker fetches the message.
        "visibility_timeout": environment.whole("CELERY_VISIBILITY_TIMEOUT_SECONDS", default=60, minimum=1),
        "unacked_restore_interval": 2,
        "unacked_restore_throttle": 1,
        # Without it, a publish to a dead peer blocks for ever.
        "socket_timeout": 15,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "max_retries": 3,
        "interval_start": 0,
        "interval_step": 0.2,
        "interval_max": 0.5,
    }

# The cache: read often, changed rarely, and forgotten when the write-ahead log tells of a change (docs/cdc.md) --------

CACHES = {
    "default": cache.config(
        environment.url("CACHE_URL", ("redis", "rediss", "unix"), "redis://host:6379/1")
        if "CACHE_URL" in env
        else environment.redis_url(CELERY_BROKER_URL, database=1)
    )
}
#: Timeout of cached values, for changes that `manage.py changes` does not report.
CACHE_SECONDS = environment.whole("CACHE_SECONDS", default=30, minimum=0)

if not CELERY_BROKER_URL.startswith("redis"):
    SAGAS_LOW_PRIORITY = SAGAS_SINGLE_PRIORITY = 0

#: The Redis of the customers' feed; by default the broker's. If empty, the feed is read from the database.
FEED_REDIS_URL = (
    environment.url("FEED_REDIS_URL", ("redis", "rediss", "unix"), "redis://host:6379/1")
    if "FEED_REDIS_URL" in env
    else environment.redis_url(CELERY_BROKER_URL)
)

# A queue for each context, one for events to receivers, one for the engine, one for its relay; a worker without
# `-Q` serves them all.
# Each has a routing key of its own: with the default one a message would land in all of them.
CELERY_TASK_QUEUES = [
    Queue(name, Exchange(name), routing_key=name)
    for name in ("orders", "inventory", "payments", "notifications", "outward", "sagas", "relay")
]
CELERY_TASK_DEFAULT_QUEUE = "sagas"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_ACKS_ON_FAILURE = True
CELERY_TASK_ACKS_ON_TIMEOUT = True
CELERY_TASK_TIME_LIMIT = 50
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 4
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_BROKER_POOL_LIMIT = 10
CELERY_BROKER_POOL_ACQUIRE_TIMEOUT = 5
CELERY_TASK_PUBLISH_RETRY = True
# ~35 s: a chain's next step survives a restart of Redis.
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 20, "interval_start": 0.1, "interval_step": 0.4, "interval_max": 2}
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 5
CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE = True
CELERY_WORKER_MAX_TASKS_PER_CHILD = 10_000
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
# Results: every failure, and tasks that a person requested; none of a successful order.
CELERY_RESULT_BACKEND = "shop.platform.results:ResultBackend"
CELERY_RESULT_EXTENDED = True
CELERY_RESULT_EXPIRES = 86_400
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED = True
# The Celery fixup would close the connection around every task (3 ms each); shop/celery.py keeps it.
CELERY_DB_REUSE_MAX = 1_000_000_000
# By default Celery uses TIME_ZONE, and beat would have its clock changes.
CELERY_TIMEZONE = "UTC"
# In memory: no shelve file to corrupt on a kill -9; any number of beats may run.
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"

# Receivers: events leave to them (docs/outward.md) ------------------------------------------------------------------

WEBHOOKS = receivers.webhooks(env.str("WEBHOOKS", default=""), insecure=DEBUG)
STREAMS = receivers.streams(
    env.str("STREAMS", default=""), broker_url=CELERY_BROKER_URL, taken={queue.name for queue in CELERY_TASK_QUEUES}
)

LOGGING = logs.config(LOG_LEVEL)
