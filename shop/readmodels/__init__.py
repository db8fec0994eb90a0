"""The read models: each follows the event log; docs/readmodels.md says how far each may be behind."""
