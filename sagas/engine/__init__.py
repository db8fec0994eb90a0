"""Moves runs and deliveries: plan, claim, try, settle, undo, send again."""
