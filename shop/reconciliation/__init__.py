"""What should be true of orders, money, goods and messages, across the contexts; the engine looks whether it is."""

from sagas.conf import conf

#: A last turn longer ago tells that nobody looks any more; by then three turns are late.
LATE_SECONDS = 60 + 2 * conf.RECONCILE_SECONDS
