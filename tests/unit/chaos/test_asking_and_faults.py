"""What chaos plans: the same orders and faults for the same seed, all kinds of them."""

from itertools import pairwise

import pytest

from tests.chaos import asking, knobs
from tests.chaos.faults import KINDS, schedule


def test_a_seed_repeats_its_orders_and_its_faults() -> None:
    assert asking.asks(200, 7) == asking.asks(200, 7) != asking.asks(200, 8)
    assert planned(7) == planned(7) != planned(8)


def planned(seed: int) -> list[tuple[float, str, float, float]]:
    faults = schedule(seed=seed, mean_seconds=1.5, until_seconds=200)
    return [(fault.at_seconds, fault.kind.name, fault.frozen_seconds, fault.draw) for fault in faults]


def test_every_kind_of_fault_comes_in_every_round() -> None:
    one_round = sum(kind.often for kind in KINDS)
    names = [name for _, name, *_ in planned(1)]
    assert len(names) > 100
    assert {*names[:one_round]} == {*names[one_round : 2 * one_round]} == {kind.name for kind in KINDS}


def test_faults_come_as_often_as_asked_and_none_after_the_flow() -> None:
    moments = [at for at, *_ in planned(3)]
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert 0.75 <= min(pauses) <= max(pauses) <= 2.25
    assert moments[-1] < 200


def test_orders_are_of_all_sorts() -> None:
    asked = asking.asks(2000, 1)
    assert {ask.method for ask in asked} == {
        "tok_visa", "tok_chargeDeclined", "tok_flaky", "tok_lostReply", "tok_down", "invoice",
    }  # fmt: skip
    assert {frozenset({"confirmed"}), frozenset({"confirmed", "OutOfStock"}), frozenset({"OutOfStock"})} <= {
        ask.outcomes for ask in asked
    }
    assert all(len(ask.quantities) == len(ask.lines) for ask in asked)


def test_knobs_are_arguments_or_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS", "50")
    monkeypatch.setenv("SEED", "7")
    monkeypatch.setenv("FAULT_EVERY", "2.5")
    chosen = knobs.read(["--rate", "5", "--seed", "8"])
    assert (chosen.orders, chosen.rate, chosen.seed, chosen.fault_every) == (50, 5.0, 8, 2.5)
    with pytest.raises(SystemExit):
        knobs.read(["--rate", "0"])
