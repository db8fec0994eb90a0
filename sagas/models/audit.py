"""The audit trail: changes of rows, as the write-ahead log told them."""

from django.db import models


class AuditRecord(models.Model):
    """One change of a row that somebody may ask about, as the write-ahead log told it; only ever added to.

    A trigger refuses to change or delete records (migration 0001).
    """

    #: Where in the write-ahead log its transaction was committed, and the how-many-th change of that it is.
    lsn = models.BigIntegerField()
    number = models.PositiveIntegerField()
    #: The lower 32 bits of its id.
    transaction_id = models.BigIntegerField()
    committed_at = models.DateTimeField()
    table = models.CharField(max_length=100)
    #: Its primary key, and what people call it (a number, a SKU).
    row = models.CharField(max_length=255)
    name = models.CharField(max_length=255, blank=True)
    action = models.CharField(max_length=10)
    #: Values as text, by column; of a changed row, only those that changed.
    before = models.JSONField()
    after = models.JSONField()
    #: Types of the events its transaction emitted. None: it was made past the services that tell of what they do.
    events = models.JSONField()
    told = models.BooleanField()
    #: The user who changed it in the admin, and the entry of Django's history that says so; empty for other ways.
    by = models.CharField(max_length=150, blank=True, default="", db_default="")
    log_entry = models.BigIntegerField(null=True, blank=True)

    class Meta:
        verbose_name = "change"
        verbose_name_plural = "audit trail"
        constraints = [
            # With its moment: a database that was restored elsewhere counts its log anew.
            models.UniqueConstraint(fields=["committed_at", "lsn", "number"], name="sagas_audit_one_per_change"),
        ]
        indexes = [
            models.Index(fields=["table", "-id"], name="sagas_audit_of_table"),
            models.Index(fields=["row", "-id"], name="sagas_audit_of_row"),
            models.Index(fields=["name", "-id"], name="sagas_audit_of_name"),
            models.Index(fields=["by", "-id"], name="sagas_audit_by", condition=~models.Q(by="")),
            models.Index(fields=["-id"], name="sagas_audit_untold", condition=models.Q(told=False)),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.table} {self.name or self.row}"
