"""How the engine reads and writes PostgreSQL: many rows at once, one moment, the clock, time limits."""
