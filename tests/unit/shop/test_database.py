"""What every session asks of PostgreSQL."""

import pytest
from django.db import connection

from shop.platform.database import session_options


def test_what_stands_in_the_url_counts_more() -> None:
    given = {"options": "-c idle_in_transaction_session_timeout=5", "connect_timeout": 1, "sslmode": "require"}
    options = session_options(given, idle_in_transaction_seconds=30, for_server=True)
    assert (options["connect_timeout"], options["sslmode"]) == (1, "require")
    # PostgreSQL takes the last of two.
    assert options["options"].index("timeout=30000") < options["options"].index("timeout=5")


def test_a_pooler_is_asked_nothing_it_may_refuse() -> None:
    options = session_options({}, idle_in_transaction_seconds=30, for_server=False)
    assert "options" not in options
    assert options["keepalives_idle"] == 10


@pytest.mark.django_db
def test_the_sessions_of_the_shop_have_them() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, setting FROM pg_settings WHERE name IN "
            "('idle_in_transaction_session_timeout', 'client_connection_check_interval', 'application_name')"
        )
        assert dict(cursor.fetchall()) == {
            "idle_in_transaction_session_timeout": "30000",
            "client_connection_check_interval": "2000",
            "application_name": "shop",
        }
