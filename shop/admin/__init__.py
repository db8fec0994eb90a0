"""The admin's pages that join the contexts, and those of other apps' tables, one module for each page.

The tables of each context have their pages in its own `admin.py`.
"""

from django.contrib import admin

from . import orders, others, read_models  # noqa: F401 - register their pages

admin.site.index_template = "shop/dashboard.html"
