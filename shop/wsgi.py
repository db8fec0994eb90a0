"""The WSGI application: `gunicorn shop.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

import embedded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
embedded.ensure()
application = get_wsgi_application()
