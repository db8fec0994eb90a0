"""Payments, and customers' credit limits."""
