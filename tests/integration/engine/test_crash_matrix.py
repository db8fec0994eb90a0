"""The crash matrix sees what the engine does: new boundaries make new cases, and a broken engine is found out."""

import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from types import ModuleType
from typing import Any

import pytest
from django.db import transaction

from sagas.core import registry
from sagas.core.errors import Rejected
from sagas.core.ids import new_id
from sagas.core.registry import Registry
from sagas.core.retry import Retry
from sagas.core.saga import Call, Pivot, Result, Saga, Step
from sagas.engine import rules, step_claim, steps, tries, undo
from sagas.log import outbox
from sagas.models import Run
from sagas.testing import Broker, CrashMatrixFailed, Variant, crash_cases, crash_matrix, paths
from tests.conftest import ROOT

from .conftest import Asked

pytestmark = pytest.mark.timeout(600)

Mutate = Callable[[pytest.MonkeyPatch], None]


class Bank:
    """Another system: what it did stays done, whatever becomes of who asked."""

    def __init__(self) -> None:
        self.charged: Counter[str] = Counter()
        self.refunded: Counter[str] = Counter()
        self.spent: set[str] = set()

    def pay(self, call: Call[Asked]) -> Result:
        if call.idempotency_key in self.spent:
            raise Rejected("That was given back.")
        self.charged[call.idempotency_key] = 1
        return {"paid": True}

    def find_payment(self, call: Call[Asked]) -> Result:
        return {"paid": True} if self.charged[call.idempotency_key] else None

    def give_back(self, call: Call[Asked]) -> Result:
        self.spent.add(call.idempotency_key)
        self.refunded[call.idempotency_key] = self.charged[call.idempotency_key]
        return None

    def give_back_carelessly(self, call: Call[Asked]) -> Result:
        self.spent.add(call.idempotency_key)
        self.refunded[call.idempotency_key] += self.charged[call.idempotency_key]
        return None

    def is_right(self, key: str) -> None:
        run = Run.objects.get(key=key)
        charged, refunded = self.charged[f"{run.id}:pay"], self.refunded[f"{run.id}:pay"]
        assert (charged, refunded) == (1, 0) if run.status == "completed" else charged == refunded <= 1


def prepare(_: Call[Asked]) -> Result:
    return {"prepared": True}


def clear_up(_: Call[Asked]) -> Result:
    return None


@pytest.fixture
def bank() -> Bank:
    return Bank()


def saga_of(bank: Bank, *, give_back: Callable[[Call[Asked]], Result]) -> Saga[Asked]:
    often = Retry(attempts=5, base_seconds=1, cap_seconds=1)
    return Saga(
        "paid",
        input=Asked,
        steps=(
            Step("prepare", queue="sagas", run=prepare, undo=clear_up, retry=often),
            Step("pay", queue="sagas", run=bank.pay, undo=give_back, probe=bank.find_payment, outside=True,
                 retry=often),
            Pivot("send", queue="sagas", run=prepare, retry=often),
            Step("tell", queue="sagas", run=prepare, retry=often),
        ),
        after_undo=(Step("say-sorry", queue="sagas", run=clear_up, retry=often),),
    )  # fmt: skip


@pytest.fixture
def saga(bank: Bank, transactional_db: None) -> Iterator[Saga[Asked]]:
    with Registry().active():
        yield saga_of(bank, give_back=bank.give_back)


def ask(now: datetime) -> None:
    with transaction.atomic():
        outbox.emit(Asked(name=str(new_id())), now=now)


#: How many leases run out on each path there is.
LEASES = {
    "all succeeds": 2,
    "prepare is rejected": 0,
    "pay is rejected": 2,
    "send is rejected": 4,
    "pay loses its answer": 4,
    "each step fails once": 4,
    "each undo fails once": 6,
}


@pytest.mark.parametrize("path", LEASES)
def test_every_path_is_run_with_every_variant_and_comes_right(saga: Saga[Asked], bank: Bank, path: str) -> None:
    summary = crash_matrix(saga, bank.is_right, start=ask, path=path)
    ((name, counts),) = summary.variants.items()
    assert name == path
    assert set(counts) | {Variant.LEASE} == set(Variant)
    assert counts[Variant.LEASE] == LEASES[path]
    assert f"{len(summary.cases)} cases in " in str(summary)


def test_the_paths_are_one_for_each_thing_that_can_go_wrong(saga: Saga[Asked]) -> None:
    assert [path.name for path in paths(saga)] == list(LEASES)
    assert {case.path.name for case in crash_cases(saga, start=ask)} == set(LEASES)


def test_a_path_nobody_knows_is_refused(saga: Saga[Asked]) -> None:
    with pytest.raises(ValueError, match="no case is called 'prepare burns'"):
        crash_matrix(saga, start=ask, path="prepare burns")


def test_nothing_of_the_kit_stays_behind(saga: Saga[Asked], bank: Bank) -> None:
    crash_matrix(saga, bank.is_right, start=ask, only="after commit 1 ")
    assert registry.names() == []
    assert "commit" not in vars(transaction.get_connection())
    assert transaction.get_connection().execute_wrappers == []


def test_a_step_that_the_input_leaves_out_has_no_path(bank: Bank, saga: Saga[Asked]) -> None:
    without = Saga(
        "without",
        input=Asked,
        steps=(Step("never", queue="sagas", run=prepare, undo=clear_up, when=lambda _: False), *saga.steps[1:]),
    )
    summary = crash_matrix(without, bank.is_right, start=ask, only="nothing")
    assert "never is rejected" not in summary.variants
    assert "pay is rejected" in summary.variants


def test_a_commit_more_brings_cases_of_its_own(saga: Saga[Asked], monkeypatch: pytest.MonkeyPatch) -> None:
    before = [str(case) for case in crash_cases(saga, start=ask)]
    execute = steps.execute

    def with_a_commit_more(**arguments: Any) -> steps.Outcome:
        outcome = execute(**arguments)
        with transaction.atomic():
            Run.objects.filter(epoch=0).update(place=0)
        return outcome

    monkeypatch.setattr(steps, "execute", with_a_commit_more)
    after = [str(case) for case in crash_cases(saga, start=ask)]
    # Four steps, and each commit can be crashed into before it and after it, with its message lost or not.
    good = [case for case in after if case.startswith("all succeeds")]
    assert len(good) == len([case for case in before if case.startswith("all succeeds")]) + 4 * 2
    assert len(after) > len(before)


def test_a_statement_outside_a_transaction_is_a_commit_too(saga: Saga[Asked], monkeypatch: pytest.MonkeyPatch) -> None:
    before = crash_cases(saga, start=ask)
    execute = steps.execute

    def with_a_statement_more(**arguments: Any) -> steps.Outcome:
        Run.objects.filter(epoch=0).update(place=0)
        return execute(**arguments)

    monkeypatch.setattr(steps, "execute", with_a_statement_more)
    assert len(crash_cases(saga, start=ask)) > len(before)


def test_a_publication_more_brings_cases_of_its_own(saga: Saga[Asked], monkeypatch: pytest.MonkeyPatch) -> None:
    before = Counter(case.variant for case in crash_cases(saga, start=ask))
    start_undo = undo.start_undo
    monkeypatch.setattr(undo, "start_undo", lambda **arguments: start_undo(**arguments) * 2)
    after = Counter(case.variant for case in crash_cases(saga, start=ask))
    assert after[Variant.DOUBLED] > before[Variant.DOUBLED]


# Broken engines --------------------------------------------------------------------------------------------------


def changed(owner: ModuleType | type, name: str, old: str, new: str) -> Mutate:
    """Return what replaces a function by itself with one piece of its source changed."""

    def mutate(monkeypatch: pytest.MonkeyPatch) -> None:
        function = inspect.unwrap(getattr(owner, name))
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(old) == 1, f"{name} no longer holds {old!r}: look for the place again"
        namespace: dict[str, Any] = {}
        exec(source.replace(old, new), function.__globals__, namespace)  # noqa: S102 - our own source
        monkeypatch.setattr(owner, name, namespace[name])

    return mutate


def published_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    relay = Broker.relay

    def relay_in_a_transaction(broker: Broker) -> int:
        with transaction.atomic():
            return relay(broker)

    monkeypatch.setattr(Broker, "relay", relay_in_a_transaction)


MUTATIONS: dict[str, Mutate] = {
    "a message is believed whatever place and epoch the run is at": changed(
        steps._StepWork, "claim", "AND run.place = %(place)s AND run.epoch = %(epoch)s", ""
    ),
    "an undo starts without comparing its status and epoch": changed(
        undo,
        "start_undo",
        "epoch=epoch, failure__isnull=False)\n"
        "        return undo_runs([run for run in failed if run.status == RunStatus.RUNNING], now=now)",
        "failure__isnull=False)\n        return undo_runs(list(failed), now=now)",
    ),
    "a step is marked as done before its effect": changed(
        tries,
        "_in_savepoint",
        "claim.keep(claim.perform(claim.tried_at))",
        "transaction.on_commit(lambda: claim.perform(claim.tried_at))",
    ),
    "an undo has a key of its own": changed(
        undo, "plan_undo", "idempotency_key=row.idempotency_key", 'idempotency_key=f"{run.id}:{step.undo_name}"'
    ),
    "messages are published before the commit": published_before_the_commit,
    "an answer is settled whoever holds the lease": changed(
        steps._StepWork, "held", " and tokens.get(claim.row.pk) == claim.row.lease_token", ""
    ),
    "nobody asks what became of a lost call": changed(
        step_claim.StepClaim, "perform", "self.ask(call) if self.asks_first else None", "None"
    ),
    "the undo leaves out what may have taken effect": changed(
        undo, "plan_undo", "row.status in MAY_HAVE_EFFECT", "row.status == StepStatus.UNKNOWN"
    ),
    "a finished step is not journalled": changed(
        rules, "advance", "row.status, row.finished_at = StepStatus.DONE, now", "row.finished_at = now"
    ),
    "a lost error callback is forgotten": lambda monkeypatch: monkeypatch.setattr(
        "sagas.engine.sweep._start_undo", lambda *_: []
    ),
}


#: Where to look for what shows late; the whole matrix finds these as well, in half a minute each.
SHOWS_LATE = {
    "an answer is settled whoever holds the lease": "pay loses its answer",
    "a lost error callback is forgotten": "prepare is rejected",
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_engine_is_found_out(
    saga: Saga[Asked], bank: Bank, monkeypatch: pytest.MonkeyPatch, mutation: str
) -> None:
    MUTATIONS[mutation](monkeypatch)
    with pytest.raises(CrashMatrixFailed) as failed:
        crash_matrix(saga, bank.is_right, start=ask, only=SHOWS_LATE.get(mutation, ""))
    print(mutation, "→", failed.value)  # noqa: T201 - which case it was, for whoever runs it with -s


def test_an_undo_that_is_not_idempotent_is_found_out(saga: Saga[Asked], bank: Bank) -> None:
    careless = saga_of(bank, give_back=bank.give_back_carelessly)
    with pytest.raises(CrashMatrixFailed) as failed:
        crash_matrix(careless, bank.is_right, start=ask, only="send is rejected")
    case = str(failed.value.case)
    assert "(give-back-carelessly: undo)" in case
    assert f'only="{case}"' in str(failed.value)
    with pytest.raises(CrashMatrixFailed, match="send is rejected"):
        crash_matrix(careless, bank.is_right, start=ask, only=case)


def test_a_case_nobody_knows_is_refused(saga: Saga[Asked]) -> None:
    with pytest.raises(ValueError, match="no case is called 'on a Sunday'"):
        crash_matrix(saga, start=ask, only="on a Sunday")


def the_example_in_the_docs() -> str:
    page = (ROOT / "docs" / "testing.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return str(example)


def run_example(example: str) -> None:
    namespace: dict[str, Any] = {"__name__": "docs_example"}
    exec(example, namespace)  # noqa: S102 - our own page
    namespace["test_a_trip_comes_right_whatever_dies"](None)


def test_the_example_in_the_docs_is_true(saga: Saga[Asked]) -> None:
    run_example(the_example_in_the_docs())


def test_the_example_in_the_docs_fails_without_its_first_two_lines(saga: Saga[Asked]) -> None:
    example = the_example_in_the_docs()
    refusal = '    if call.idempotency_key in cancelled:\n        raise Rejected("This booking was cancelled.")\n'
    assert refusal in example
    with pytest.raises(CrashMatrixFailed, match="the lease runs out"):
        run_example(example.replace(refusal, "").replace("docs.trip", "docs.careless_trip"))
