"""The reconciliation as an engine: what a turn looks at, what it writes down, what it costs."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from sagas.books import reconciliation
from sagas.books.reconciliation import BROKEN, Reconciled, dismiss
from sagas.core.books import Breach, Check, Scope, Walk
from sagas.core.errors import TransactionRefusedError
from sagas.log import outbox
from sagas.models import Event, Finding, Reconciliation
from sagas.testing import MovableClock
from tests.concurrency import at_once

from .conftest import Ask, Asked


class Watch:
    """A check that finds what it is told to, among the keys it is given."""

    def __init__(self) -> None:
        self.wrong: dict[str, dict[str, Any]] = {}
        self.looked: list[tuple[str, ...]] = []
        self.moving: dict[str, Any] = {}
        self.does: Callable[[Scope], None] = lambda look: None

    def look(self, scope: Scope) -> list[Breach]:
        self.looked.append(scope.keys)
        self.does(scope)
        return [
            Breach(key=key, message=f"{key} is wrong", facts=facts, moving=self.moving)
            for key, facts in self.wrong.items()
            if key in scope.keys
        ]


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def turn(transactional_db: None, watch: Watch, clock: MovableClock) -> Callable[..., Reconciled]:
    def turn(*more: Check, walks: tuple[Walk, ...] = ()) -> Reconciled:
        return reconciliation.reconcile(now=clock(), checks=(*more, Check(name="watch", look=watch.look)), walks=walks)

    return turn


Turn = Callable[..., Reconciled]


def standing() -> list[tuple[str, str, str]]:
    return list(Finding.objects.filter(cleared_at=None).order_by("pk").values_list("check_name", "key", "status"))


def test_a_breach_is_found_seen_again_and_cleared(turn: Turn, watch: Watch, ask: Ask, clock: MovableClock) -> None:
    began = clock()
    watch.wrong = {"k": {"left": 1, "right": 2}}
    ask("k")
    assert turn() == Reconciled(keys=1, found=1)
    clock.move(seconds=20)
    watch.wrong = {"k": {"left": 1, "right": 3}}
    assert turn() == Reconciled(keys=1)
    finding = Finding.objects.get()
    assert (finding.found_at, finding.last_seen_at, finding.status) == (began, clock(), "open")
    assert (finding.message, finding.facts) == ("k is wrong", {"left": 1, "right": 3})
    clock.move(seconds=20)
    watch.wrong = {}
    assert turn() == Reconciled(keys=1, cleared=1)
    finding.refresh_from_db()
    assert (finding.status, finding.cleared_at) == ("cleared", clock())
    watch.wrong = {"k": {}}
    assert turn() == Reconciled(keys=1, found=1)
    assert Finding.objects.count() == 2


def test_a_dismissed_breach_stays_dismissed_until_it_is_another(
    turn: Turn, watch: Watch, ask: Ask, clock: MovableClock
) -> None:
    watch.wrong, watch.moving = {"k": {"left": 1}}, {"count": 1}
    ask("k")
    turn()
    (pk,) = Finding.objects.values_list("pk", flat=True)
    with pytest.raises(ValueError, match="with a reason"):
        dismiss(finding_ids=[pk], by="boss", reason="  ", now=clock())
    assert dismiss(finding_ids=[pk], by="boss", reason="Paid in cash.", now=clock()) == 1
    assert dismiss(finding_ids=[pk], by="other", reason="Again.", now=clock()) == 0
    watch.moving = {"count": 2}
    assert turn() == Reconciled(keys=1)
    assert standing() == [("watch", "k", "dismissed")]
    finding = Finding.objects.get()
    assert (finding.dismissed_by, finding.dismissed_reason, finding.dismissed_at) == ("boss", "Paid in cash.", clock())
    watch.wrong = {"k": {"left": 5}}
    assert turn() == Reconciled(keys=1, found=1, cleared=1)
    assert standing() == [("watch", "k", "open")]
    dismiss(finding_ids=list(Finding.objects.values_list("pk", flat=True)), by="boss", reason="Again.", now=clock())
    watch.wrong = {}
    assert turn() == Reconciled(keys=1, cleared=1)
    assert standing() == []
    assert set(Finding.objects.values_list("status", flat=True)) == {"dismissed"}


@pytest.mark.parametrize("how", ["raises", "breaks its transaction", "says what cannot be stored"])
def test_a_broken_check_is_a_finding_and_does_not_stop_the_others(turn: Turn, watch: Watch, ask: Ask, how: str) -> None:
    def broken(scope: Scope) -> list[Breach]:
        if how == "raises":
            raise RuntimeError("no such column")
        if how == "breaks its transaction":
            Event.objects.update(log_position=None)
        return [Breach(key="k", message="m", facts={"nan": float("nan")})]

    fine = Check(name="other", look=lambda look: [Breach(key="k", message="m", facts={})])
    watch.wrong = {"k": {}}
    ask("k")
    turn(fine)
    assert turn(Check(name="other", look=broken)).found == 1
    # What the check found before stays: nobody knows.
    assert standing() == [("other", "k", "open"), ("watch", "k", "open"), (BROKEN, "other", "open")]
    assert Finding.objects.get(check_name=BROKEN).message.startswith("The check other cannot be made: ")
    assert turn(fine).cleared == 1
    assert standing() == [("other", "k", "open"), ("watch", "k", "open")]


def test_a_walk_that_breaks_stays_where_it_is(turn: Turn, watch: Watch, ask: Ask) -> None:
    def walk(after: str, limit: int) -> tuple[list[str], str]:
        if after == "1":
            raise RuntimeError("off the path")
        return ["one"], "1"

    way = Walk(name="way", step=walk)
    assert turn(walks=(way,)).keys == 1
    ask("k")
    assert turn(walks=(way,)).found == 1
    assert watch.looked == [("one",), ("k",)]
    assert Reconciliation.objects.get().walks["way"] == "1"
    assert standing() == [(BROKEN, "way", "open")]


def test_a_turn_goes_on_where_the_last_one_stopped(
    turn: Turn, watch: Watch, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "_EVENTS", 3)
    monkeypatch.setattr(reconciliation, "_OVERLAP", 0)
    ask("before")
    turn()
    for number in range(5):
        ask(f"k{number}")
    assert turn() == Reconciled(keys=3, more=True)
    assert turn() == Reconciled(keys=2)
    assert turn() == Reconciled()
    assert watch.looked == [("before",), ("k0", "k1", "k2"), ("k3", "k4"), ()]


def test_an_event_that_is_committed_late_is_looked_at(turn: Turn, watch: Watch, ask: Ask, clock: MovableClock) -> None:
    ask("first")
    turn()
    with transaction.atomic():
        outbox.emit(Asked(name="late"), now=clock())
        at_once(lambda: ask("early"))
        at_once(turn)
    assert Event.objects.get(key="late").position < Event.objects.get(key="early").position
    turn()
    assert watch.looked[1:] == [("early", "first"), ("early", "first", "late")]


def test_what_has_rested_is_looked_at_once_more(
    turn: Turn, watch: Watch, ask: Ask, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "_OVERLAP", 0)
    ask("k")
    turn()
    for _ in range(4):
        clock.move(minutes=2)
        ask("other")
        turn()
    assert [keys for keys in watch.looked if "k" in keys] == [("k",), ("k", "other")]
    clock.move(minutes=9)
    Event.objects.filter(key="other").update(occurred_at=clock() + timedelta(days=400))
    ask("last")
    turn()
    assert watch.looked[-1] == ("last", "other")


def test_a_walk_goes_round_and_round_in_slices(turn: Turn, watch: Watch) -> None:
    def letters(after: str, limit: int) -> tuple[str, str]:
        rest = "abcde"["abcde".find(after) + 1 if after else 0 :]
        return rest[:limit], rest[limit - 1] if len(rest) >= limit else ""

    way = Walk(name="letters", step=letters, limit=2)
    watch.wrong = {"d": {}}
    for _ in range(4):
        turn(walks=(way,))
    # What is found is looked at in every turn from then on.
    assert watch.looked == [("a", "b"), ("c", "d"), ("d", "e"), ("a", "b", "d")]


def test_history_before_the_first_turn_is_left_to_the_walks(
    turn: Turn, watch: Watch, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "_EVENTS", 2)
    monkeypatch.setattr(reconciliation, "_OVERLAP", 0)
    for number in range(6):
        ask(f"k{number}")
    turn()
    assert watch.looked == [("k4", "k5")]


def test_one_reconciler_works_at_a_time(turn: Turn, watch: Watch, ask: Ask) -> None:
    ask("k")
    others: list[Any] = []
    watch.does = lambda look: others.extend(at_once(turn)) if len(watch.looked) == 1 else None
    watch.wrong = {"k": {}}
    assert turn() == Reconciled(keys=1, found=1)
    assert others == [Reconciled()]
    assert len(watch.looked) == 1


def test_a_turn_that_was_overtaken_is_thrown_away(
    turn: Turn, watch: Watch, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its snapshot is older: what it calls a breach may have been mended since."""
    ask("k")
    watch.wrong = {"k": {}}
    take, others = reconciliation._take, []

    def overtaken(*arguments: Any) -> bool:
        monkeypatch.setattr(reconciliation, "_take", take)
        watch.wrong = {}
        others.extend(at_once(turn))
        connections["default"].ensure_connection()
        return take(*arguments)

    turn()
    Finding.objects.all().delete()
    monkeypatch.setattr(reconciliation, "_take", overtaken)
    assert turn() == Reconciled()
    assert others == [Reconciled(keys=1)]
    assert not Finding.objects.exists()


def test_checks_see_one_moment_and_cannot_write(turn: Turn, watch: Watch, ask: Ask) -> None:
    seen: list[int] = []

    def count(scope: Scope) -> list[Breach]:
        seen.append(Event.objects.count())
        at_once(lambda: ask(f"k{len(seen)}"))
        return []

    ask("k")
    turn(Check(name="one", look=count), Check(name="two", look=count))
    assert seen == [1, 1]
    assert Event.objects.count() == 3


def test_the_reconciliation_refuses_a_transaction(turn: Turn) -> None:
    with transaction.atomic(), pytest.raises(TransactionRefusedError):
        turn()


def test_what_checks_share_is_loaded_once_a_turn(turn: Turn, ask: Ask) -> None:
    loaded: list[tuple[str, ...]] = []

    def load(scope: Scope) -> int:
        loaded.append(scope.keys)
        return len(loaded)

    def share(scope: Scope) -> list[Breach]:
        return [Breach(key="k", message=f"load {scope.once(load)}", facts={})]

    ask("k")
    turn(Check(name="one", look=share), Check(name="two", look=share))
    assert loaded == [("k",)]
    assert set(Finding.objects.values_list("message", flat=True)) == {"load 1"}


def test_a_turn_costs_as_many_statements_for_a_hundred_keys_as_for_one(turn: Turn, watch: Watch, ask: Ask) -> None:
    turn()
    counts = []
    for keys in ({"a"}, {f"k{number}" for number in range(100)}):
        for key in sorted(keys):
            ask(key)
        watch.wrong = {key: {} for key in keys}
        with CaptureQueriesContext(connection) as finding:
            assert turn().found == len(keys)
        watch.wrong = {key: {"more": 1} for key in keys}
        with CaptureQueriesContext(connection) as seeing:
            assert turn().found == 0
        watch.wrong = {}
        with CaptureQueriesContext(connection) as clearing:
            assert turn().cleared == len(keys)
        counts.append([len(finding), len(seeing), len(clearing)])
    assert counts[0] == counts[1]
