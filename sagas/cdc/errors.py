"""Reasons why the write-ahead log cannot be followed, and what to do; the docstring of each is its reason."""


class CannotFollow(Exception):  # noqa: N818 - what to do stands in the message
    """The write-ahead log cannot be followed as the database is set up."""


class LogIsNotLogical(CannotFollow):
    """PostgreSQL writes too little into its log."""

    def __init__(self, level: str) -> None:
        super().__init__(
            f"PostgreSQL runs with wal_level={level}: set wal_level = logical and restart it"
            " (the embedded server takes it when all its users have ended and it starts anew)."
        )
        self.level = level


class MayNotReplicate(CannotFollow):
    """The role has no right to replicate."""

    def __init__(self, role: str) -> None:
        super().__init__(f'The role {role} may not replicate: ALTER ROLE "{role}" REPLICATION, as a superuser.')
        self.role = role


class NoSlotLeft(CannotFollow):
    """All slots of the server are taken."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}. Drop an unused slot (pg_replication_slots lists them), or raise max_replication_slots and"
            " max_wal_senders and restart PostgreSQL."
        )


class SlotOfAnotherDatabase(CannotFollow):
    """The slot belongs to another database. The name of a slot is unique on the server; a slot reads one database."""

    def __init__(self, slot: str, database: str) -> None:
        super().__init__(f"The slot {slot} belongs to the database {database}: take another name with --slot.")
        self.slot, self.database = slot, database


class SlotIsLost(CannotFollow):
    """PostgreSQL has removed log that the slot had yet to read."""

    def __init__(self, slot: str, reason: str) -> None:
        super().__init__(
            f"The slot {slot} is lost ({reason}): what it had yet to read is gone. Drop it with --drop-slot and start"
            " anew; docs/cdc.md says what that means."
        )
        self.slot, self.reason = slot, reason


class SlotInUse(Exception):  # noqa: N818 - it may be free the next moment
    """Another process follows the slot; a slot has one reader at a time."""

    def __init__(self, slot: str, reason: str) -> None:
        super().__init__(f"The slot {slot} is in use by another process ({reason}).")
        self.slot, self.reason = slot, reason
