"""Ids that sort by the time of their creation (UUIDv7): new rows go to the end of their index."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    return uuid7()
