#!/usr/bin/env python
"""The command line of the shop; `python manage.py help` lists what it can do."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    from django.core.management import execute_from_command_line

    from shop import embedded

    embedded.ensure()
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
