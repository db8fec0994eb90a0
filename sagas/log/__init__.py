"""The outbox and the event log: written, numbered by the relay, followed by subscriptions and read models."""
