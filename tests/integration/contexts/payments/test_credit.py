"""Credit on PostgreSQL: never past its limit, held once for an order."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payments import credit
from payments.errors import (
    CreditHeldAlready,
    CreditHoldEnded,
    CreditLimitExceeded,
    NoCredit,
)
from payments.models import CreditAccount, CreditHold
from sagas.models import Event
from tests.asking import emitted
from tests.concurrency import at_once

from .conftest import LATER, NOW, ORDER, OTHER, hold, kept_back, release


def test_an_account_that_stands_is_left_as_it_is(account: CreditAccount) -> None:
    again = credit.open_credit(customer_email="ada@example.COM", limit_minor=1, currency="EUR")
    assert (again, again.limit_minor, again.currency) == (account, 5000, "GBP")


def test_credit_is_kept_back_once_for_an_order(account: CreditAccount) -> None:
    first = hold()
    assert hold(4000, now=LATER) == first
    row = CreditHold.objects.get()
    assert (row.status, row.amount_minor, row.held_at, row.released_at) == ("held", 2000, NOW, None)
    assert (kept_back(), emitted("payments")) == (2000, ["credit_held"])
    assert Event.objects.get().data == {
        "order_id": str(ORDER),
        "customer_email": "ada@example.com",
        "amount_minor": 2000,
        "currency": "GBP",
    }


def test_credit_may_be_used_to_the_last_penny_and_not_one_further(account: CreditAccount) -> None:
    hold(4999)
    with pytest.raises(CreditLimitExceeded) as refused:
        hold(2, order_id=OTHER)
    assert str(refused.value) == "The order costs £0.02, and your credit has £0.01 left."
    assert (refused.value.wanted_minor, refused.value.available_minor) == (2, 1)
    assert (kept_back(), CreditHold.objects.count(), emitted("payments")) == (4999, 1, ["credit_held"])
    hold(1, order_id=OTHER)
    assert kept_back() == 5000


@pytest.mark.parametrize("other", [{"customer_email": "eve@example.com"}, {"currency": "EUR"}])
def test_without_an_account_in_this_currency_there_is_no_credit(account: CreditAccount, other: dict[str, Any]) -> None:
    with pytest.raises(NoCredit) as refused:
        hold(**other)
    assert str(refused.value) == "You have no credit account with us; please pay by card instead."
    assert refused.value.customer_email == other.get("customer_email", "ADA@example.com")
    assert (kept_back(), CreditHold.objects.count(), emitted("payments")) == (0, 0, [])


def test_released_credit_is_free_again(account: CreditAccount) -> None:
    hold()
    release()
    release()
    row = CreditHold.objects.get()
    assert (row.status, row.released_at) == ("released", LATER)
    assert (kept_back(), emitted("payments")) == (0, ["credit_held", "credit_released"])
    assert Event.objects.latest("position").data["amount_minor"] == 2000


def test_releasing_where_nothing_is_held_does_nothing(account: CreditAccount) -> None:
    release()
    assert (kept_back(), emitted("payments")) == (0, [])


def test_a_hold_that_comes_after_the_release_keeps_nothing_back(account: CreditAccount) -> None:
    hold()
    release()
    with pytest.raises(CreditHoldEnded):
        hold()
    assert kept_back() == 0


def test_an_undo_frees_only_what_its_own_run_kept_back(account: CreditAccount) -> None:
    hold(key="first run")
    with pytest.raises(CreditHeldAlready):
        hold(key="second run")
    release(key="second run")
    assert kept_back() == 2000
    release(key="first run")
    assert hold(key="second run").status == "held"
    release(key="first run")
    assert kept_back() == 2000


def test_holds_at_once_never_pass_the_limit(committed_account: CreditAccount) -> None:
    answers = at_once(*[lambda: hold(1500, order_id=uuid4())] * 8)
    assert sorted(type(answer).__name__ for answer in answers) == ["CreditHold"] * 3 + ["CreditLimitExceeded"] * 5
    assert (kept_back(), CreditHold.objects.count(), emitted("payments")) == (4500, 3, ["credit_held"] * 3)


@pytest.mark.parametrize("amount_minor", [1500, 5000])
def test_many_holds_for_one_order_at_once_are_one(committed_account: CreditAccount, amount_minor: int) -> None:
    answers = at_once(*[lambda: hold(amount_minor)] * 4)
    assert answers == [CreditHold.objects.get()] * 4
    assert (kept_back(), emitted("payments")) == (amount_minor, ["credit_held"])


def test_many_releases_at_once_release_once(committed_account: CreditAccount) -> None:
    hold(order_id=OTHER, amount_minor=1)
    hold()
    assert at_once(*[release] * 4) == [None] * 4
    assert (kept_back(), emitted("payments")) == (1, ["credit_held", "credit_held", "credit_released"])


def test_holding_and_releasing_at_once_do_not_wait_for_each_other_for_ever(committed_account: CreditAccount) -> None:
    def there_and_back(order_id: UUID) -> None:
        hold(500, order_id=order_id)
        release(order_id)

    assert at_once(*[lambda: there_and_back(uuid4())] * 8) == [None] * 8
    assert kept_back() == 0


@given(
    actions=st.lists(
        st.tuples(st.sampled_from(["hold", "hold", "release"]), st.integers(1, 4), st.integers(1, 3000)), max_size=15
    )
)
@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_kept_back_always_equals_the_open_holds(
    account: CreditAccount, actions: list[tuple[str, int, int]]
) -> None:
    with transaction.atomic():
        for action, number, amount_minor in actions:
            try:
                if action == "hold":
                    hold(amount_minor, order_id=UUID(int=number))
                else:
                    release(UUID(int=number))
            except CreditHoldEnded:
                assert action == "hold"
            except CreditLimitExceeded as refused:
                assert kept_back() + amount_minor > 5000 == kept_back() + refused.available_minor  # noqa: PT017
            open_holds = CreditHold.objects.filter(status="held").values_list("amount_minor", flat=True)
            assert kept_back() == sum(open_holds) <= 5000
        transaction.set_rollback(True)


def test_a_limit_below_what_is_held_is_a_form_error(account: CreditAccount) -> None:
    hold()
    account.refresh_from_db()
    account.limit_minor = 1999
    with pytest.raises(ValidationError, match=r"£20\.00 of it is held by open orders"):
        account.full_clean()
