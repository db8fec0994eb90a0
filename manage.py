#!/usr/bin/env python
"""The command line of the shop; `python manage.py help` lists what it can do."""

import os
import sys

#: Commands that ask no server anything start none.
OFFLINE = {"help", "--help", "-h", "version", "--version", "makemessages", "compilemessages", "startapp"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    import embedded

    if not OFFLINE.intersection(sys.argv[1:2]):
        embedded.ensure()
    try:
        execute_from_command_line(sys.argv)
    except OperationalError as error:
        if not _is_unreachable(error):
            raise
        raise SystemExit(f"shop: cannot reach the database: {_first_line(error)}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # 128 + SIGINT, what a shell reports for Ctrl-C


def _is_unreachable(error: Exception) -> bool:
    """Tell a connection that was never made, which has no SQLSTATE, from a query that failed."""
    return getattr(error.__cause__, "sqlstate", None) is None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


if __name__ == "__main__":
    main()
