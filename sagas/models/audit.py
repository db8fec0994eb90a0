"""The audit trail: changes of rows, from the write-ahead log."""

from django.db import models


class AuditRecord(models.Model):
    """One change of an audited row, from the write-ahead log. Records are only added.

    A trigger refuses to change or delete records (migration 0001).
    """

    #: Position of the commit of its transaction in the write-ahead log, and its number among the changes of the
    #: transaction.
    lsn = models.BigIntegerField()
    number = models.PositiveIntegerField()
    #: The lower 32 bits of the transaction's id.
    transaction_id = models.BigIntegerField()
    committed_at = models.DateTimeField()
    table = models.CharField(max_length=100)
    #: Primary key of the row, and its label (a number, a name).
    row = models.CharField(max_length=255)
    name = models.CharField(max_length=255, blank=True)
    action = models.CharField(max_length=10)
    #: Values as text, by column: `{"beds": "2"}`; NULL is null. Of a changed row only the columns that changed; of a
    #: new row `before` is empty, of a deleted one `after`.
    before = models.JSONField()
    after = models.JSONField()
    #: Types of the events that its transaction emitted: `["trips.trip_booked"]`. Empty: no service made the change.
    events = models.JSONField()
    #: The user who made the change in the admin, and the entry of Django's history about it; empty otherwise.
    by = models.CharField(max_length=150, blank=True, default="", db_default="")
    log_entry = models.BigIntegerField(null=True, blank=True)

    class Meta:
        verbose_name = "change"
        verbose_name_plural = "audit trail"
        constraints = [
            # With its time: a restored database numbers its log anew.
            models.UniqueConstraint(fields=["committed_at", "lsn", "number"], name="sagas_audit_one_per_change"),
        ]
        indexes = [
            models.Index(fields=["table", "-id"], name="sagas_audit_of_table"),
            models.Index(fields=["row", "-id"], name="sagas_audit_of_row"),
            models.Index(fields=["name", "-id"], name="sagas_audit_of_name"),
            models.Index(fields=["by", "-id"], name="sagas_audit_by", condition=~models.Q(by="")),
            models.Index(fields=["-id"], name="sagas_audit_without_event", condition=models.Q(events=[])),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.table} {self.name or self.row}"
