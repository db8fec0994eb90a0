"""Runs and deliveries, one step on: planned, claimed, tried, settled, undone, sent again."""
