"""Test data, one module a context: what a service makes is made by the service, a state by plain rows.

Factories have the defaults; a test says what matters to it: `PlacedOrderFactory.create(payment_method="invoice")`.
"""
