"""What should be true of orders, money, goods and messages, across the contexts; the engine checks it."""

from sagas.conf import conf

#: If the last turn is longer ago, the reconciliation has stopped; by then three turns are late.
LATE_SECONDS = 60 + 2 * conf.RECONCILE_SECONDS
