"""A credit account by its events: a history that outlives orders, read from a snapshot."""

from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payments import credit, selectors
from payments.errors import CreditHoldEnded, CreditLimitExceeded
from payments.events import credit_account_id
from payments.models import CreditAccount
from sagas.core.ids import new_id
from sagas.models import Event, Snapshot
from tests import one
from tests.factories.people import StaffFactory, browser_of

ADA = {"customer_email": "ada@example.com", "currency": "GBP"}


@pytest.fixture
def account(db: None) -> CreditAccount:
    return credit.open_credit(limit_minor=500_000, **ADA)


def hold(order_id: UUID, amount_minor: int = 1000) -> None:
    request = credit.CreditRequest(order_id=order_id, amount_minor=amount_minor, key=f"{order_id}:hold", **ADA)
    one.hold_credit(request, now=timezone.now())


def release(order_id: UUID) -> None:
    credit.release_credit(order_id=order_id, key=f"{order_id}:hold", now=timezone.now())


def by_events(account: CreditAccount) -> Any:
    return selectors.account_by_events(account)


def page(account: CreditAccount) -> str:
    boss = User.objects.filter(username="boss").first() or StaffFactory.create(username="boss", boss=True)
    return browser_of(boss).get(f"/admin/payments/creditaccount/{account.pk}/change/").content.decode()


@settings(max_examples=30, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(moves=st.lists(st.tuples(st.booleans(), st.integers(1, 5), st.integers(1, 300_000)), max_size=12))
def test_the_events_of_an_account_add_up_to_what_it_holds(
    account: CreditAccount, moves: list[tuple[bool, int, int]]
) -> None:
    for is_hold, number, amount_minor in moves:
        try:
            if is_hold:
                hold(UUID(int=number), amount_minor)
            else:
                release(UUID(int=number))
        except (CreditHoldEnded, CreditLimitExceeded):
            pass
        account.refresh_from_db()
        state = by_events(account).state
        assert (state.held_minor, state.orders) == (account.held_minor, account.holds.filter(status="held").count())


def test_holds_of_a_batch_are_events_of_their_accounts_one_after_the_other(account: CreditAccount) -> None:
    orders = [new_id(), new_id()]
    requests = [credit.CreditRequest(order_id=each, amount_minor=1000, key=f"{each}:hold", **ADA) for each in orders]
    credit.hold_credit_many(requests, now=timezone.now())
    told = Event.objects.filter(aggregate="credit_account").order_by("sequence")
    assert list(told.values_list("subject", "sequence", "key")) == [
        (credit_account_id(**ADA), number, str(order_id)) for number, order_id in enumerate(orders, 1)
    ]


def test_an_account_of_many_orders_is_read_from_a_snapshot(account: CreditAccount) -> None:
    for _ in range(60):
        order_id = new_id()
        hold(order_id)
        release(order_id)
    hold(new_id(), 2000)
    first = by_events(account)
    assert (first.state.held_minor, first.sequence, first.read, first.is_kept) == (2000, 121, 121, True)
    hold(new_id(), 500)
    with CaptureQueriesContext(connection) as made:
        second = by_events(account)
    assert (second.state.held_minor, second.sequence, second.read, second.is_kept) == (2500, 122, 1, False)
    assert len(made) == 2
    assert list(Snapshot.objects.values_list("fold", "sequence")) == [("credit-account", 121)]
    Snapshot.objects.all().delete()
    assert by_events(account).state == second.state


def test_the_page_of_an_account_says_what_its_events_add_up_to(account: CreditAccount) -> None:
    hold(new_id(), 2000)
    assert "£20.00 held by 1 order, after 1 movement" in page(account)
    assert "changed by hand" not in page(account)
    CreditAccount.objects.update(held_minor=2500)
    assert "£20.00 held by 1 order, after 1 movement. The account says otherwise" in page(account)
