"""Change data capture: what was committed is read from PostgreSQL's write-ahead log (decision 0019, docs/cdc.md)."""
