"""The story of an order: everything that happened to it, where it stands, and what it was at any moment."""
