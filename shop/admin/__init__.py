"""The pages of this site that join the contexts, and those of others' tables, a module a page.

The tables of each context have their pages in its own `admin.py`.
"""

from django.contrib import admin

from . import orders, others, read_models  # noqa: F401 - register their pages

admin.site.index_template = "shop/dashboard.html"
