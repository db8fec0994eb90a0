"""Orders, and the catalogue."""
