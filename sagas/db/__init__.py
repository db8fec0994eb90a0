"""How the engine uses PostgreSQL: many rows at once, one moment, locks, the clock, time limits."""
