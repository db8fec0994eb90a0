"""The reconciliation: compares what should be true with what is, and keeps findings."""
