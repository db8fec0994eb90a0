"""The story of an order: its timeline, its current standing, and its state at any moment."""
