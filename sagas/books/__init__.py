"""The reconciliation: compares the expected state with the stored one, and keeps findings."""
