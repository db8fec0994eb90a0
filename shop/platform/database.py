"""The options of our PostgreSQL sessions: a client that froze, died or disconnected holds no lock for long.

Each value has its reason in docs/decisions/0011.
"""

from typing import Any

#: Time after which a statement of a lost client ends, also one that waits for a lock.
_CLIENT_CHECK_MS = 2_000
#: Time after which either side closes the connection of a lost peer; only over TCP.
_PEER_GONE_MS = 30_000
_KEEPALIVES = {"idle": 10, "interval": 5, "count": 3}

_CLIENT = {
    "connect_timeout": 10,
    "tcp_user_timeout": _PEER_GONE_MS,
    **{f"keepalives_{name}": value for name, value in _KEEPALIVES.items()},
}


def session_options(given: dict[str, Any], *, idle_in_transaction_seconds: float, for_server: bool) -> dict[str, Any]:
    """Return the OPTIONS of a database; those of DATABASE_URL take precedence.

    Args:
        idle_in_transaction_seconds: a transaction that is idle for this long is ended; 0 for never.
        for_server: also pass options of the server. Poolers such as PgBouncer may refuse them.
    """
    options = {"application_name": "shop"} | _CLIENT | given
    if for_server:
        asked = {
            "idle_in_transaction_session_timeout": int(idle_in_transaction_seconds * 1000),
            "client_connection_check_interval": _CLIENT_CHECK_MS,
            "tcp_user_timeout": _PEER_GONE_MS,
            **{f"tcp_keepalives_{name}": value for name, value in _KEEPALIVES.items()},
        }
        ours = [f"-c {name}={value}" for name, value in asked.items()]
        options["options"] = " ".join([*ours, given.get("options", "")]).strip()
    return options
