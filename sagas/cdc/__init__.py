"""Change data capture: committed changes, read from PostgreSQL's write-ahead log (decision 0019, docs/cdc.md)."""
