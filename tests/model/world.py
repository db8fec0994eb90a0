"""The world the model lives in: a saga whose effects are rows and entries of a bank, a broker that may do anything."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.db import connection, transaction

from sagas.core.errors import OutcomeUnknown, Rejected, Retryable
from sagas.core.events import DomainEvent
from sagas.core.registry import Registry
from sagas.core.retry import Retry
from sagas.core.saga import Call, Pivot, Result, Saga, SetFunction, Step
from sagas.core.statuses import OPEN_RUNS, Action, DeliveryStatus, RunStatus, StepStatus
from sagas.core.subscription import starts
from sagas.log import outbox
from sagas.models import Delivery, Event, Run, StepRun
from sagas.operations import interventions
from sagas.testing import Killed, Message, MovableClock
from sagas.testing.boundaries import Boundary, Watch, WatchedBroker, commits_watched

_EMPTIED = "; ".join(
    f"DELETE FROM {table}"  # noqa: S608 - names of our own
    for table in (
        "sagas_intervention",
        "sagas_attempt",
        "sagas_steprun",
        "sagas_delivery",
        "sagas_run",
        "sagas_event",
        "model_effect",
    )
)
RETRY = Retry(attempts=3, base_seconds=4, cap_seconds=30)
#: What a step may answer besides success.
ANSWERS = (
    "rejected",
    "busy",
    "bug",
    "unknown before",
    "unknown after",
    "killed before",
    "killed after",
    "slow",
)


class Wanted(DomainEvent):
    type: ClassVar[str] = "model.wanted"
    aggregate: ClassVar[str] = "model"

    name: str

    @property
    def subject_id(self) -> str:
        return self.name


class Bank:
    """Another system: it knows payments by key, and a key that was given back is spent."""

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.charges: Counter[str] = Counter()

    def charge(self, key: str) -> None:
        if self.status.get(key) in ("refunded", "spent"):
            raise Rejected("called off")
        if key not in self.status:
            self.status[key] = "charged"
            self.charges[key] += 1

    def give_back(self, key: str) -> None:
        self.status[key] = "refunded" if self.status.get(key) in ("charged", "refunded") else "spent"


class World:
    """One history: what was asked, what is on the broker, what the clock says, what took effect."""

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_EMPTIED)
        self.clock = MovableClock()
        self.bank = Bank()
        self.answers: dict[str, list[str]] = {}
        self.watch = Watch()
        self.broker = WatchedBroker(self.clock, self.watch)
        self.nested = False
        self.touched = True
        self._stack = ExitStack()
        self._stack.enter_context(Registry([starts(self._saga())]).active())
        self._stack.enter_context(commits_watched(lambda: self.watch))

    def close(self) -> None:
        self._stack.close()

    # What may happen ---------------------------------------------------------------------------------------------

    def want(self, name: str) -> None:
        with transaction.atomic():
            outbox.emit(Wanted(name=name), now=self.clock())

    def in_a_process(self, work: Callable[[], Any], *, dies_at: int) -> None:
        """Do work in a process that dies at its n-th boundary (commit, publication); 0 for one that lives."""
        seen = 0
        self.touched = True

        def reach(_: Boundary) -> None:
            nonlocal seen
            seen += 1
            if seen == dies_at:
                self.watch.kill()

        self.watch = self.broker.watch = Watch(on_boundary=reach)
        try:
            work()
        except Killed:
            pass
        finally:
            self.watch = self.broker.watch = Watch()

    def deliver(self, message: Message, *, dies_at: int = 0) -> None:
        self.in_a_process(lambda: self.broker.deliver(message), dies_at=dies_at)

    def intervene(self, run: Run, action: Action, *, dies_at: int = 0) -> None:
        def act() -> None:
            batch = interventions.ask([run], action, reason="the model", by="model", now=self.clock())
            worked = interventions.work(now=self.clock(), batch=batch)
            self.broker.send(worked.wake_ups, worked.deliveries)

        self.in_a_process(act, dies_at=dies_at)

    def recover(self) -> None:
        """Let everything heal and be worked off: no more faults, people press the buttons."""
        self.answers.clear()
        for _ in range(80):
            for run in Run.objects.filter(status=RunStatus.PAUSED):
                self.intervene(run, Action.RESUME)
            for run in Run.objects.filter(status=RunStatus.NEEDS_ATTENTION):
                self.intervene(run, Action.RETRY)
            for delivery in Delivery.objects.filter(status=DeliveryStatus.PARKED):
                interventions.ask([delivery], Action.RETRY, reason="the model", by="model", now=self.clock())
            self.broker.relay()
            self.broker.sweep()
            self.broker.work_off()
            if self._all_is_done():
                self.touched = True
                return
            self.clock.move(minutes=11)
        raise AssertionError(f"it does not come to an end: {self.picture()}")

    def _all_is_done(self) -> bool:
        return not (
            Run.objects.filter(status__in=OPEN_RUNS).exists()
            or Event.objects.filter(log_position=None).exists()
            or Delivery.objects.exclude(status=DeliveryStatus.DONE).exists()
        )

    # What must hold ----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Judge every run, wherever it stands, if anything was done since the last time.

        Raises:
            AssertionError: a promise is broken.
        """
        if not self.touched:
            return
        self.touched = False
        effects = self._effects()
        assert all(times == 1 for times in effects.values()), f"an effect was made twice: {effects}"
        assert all(times == 1 for times in self.bank.charges.values()), f"charged twice: {self.bank.charges}"
        rows = list(StepRun.objects.select_related("run").order_by("run", "place"))
        plans: dict[Run, list[StepRun]] = defaultdict(list)
        for row in rows:
            plans[row.run].append(row)
        for row in rows:
            if row.step == "pay":
                continue
            stands = (row.idempotency_key, row.name) in effects
            journalled = row.status in (StepStatus.DONE, StepStatus.UNDOING, StepStatus.UNDONE)
            assert stands == journalled, f"{row.name} is {row.status}, its effect stands: {stands} {self.picture()}"
        for run, plan in plans.items():
            self._check_run(run, plan)
        keys = [run.key for run in plans if run.status in OPEN_RUNS]
        assert len(keys) == len(set(keys)), "a key has two open runs"

    def _check_run(self, run: Run, rows: list[StepRun]) -> None:
        status = {row.name: row.status for row in rows}
        paid = self.bank.status.get(f"{run.id}:pay", "")
        if run.status == RunStatus.COMPLETED:
            assert paid == "charged", f"completed and {paid or 'not paid'} {self.picture()}"
            assert set(status.values()) == {StepStatus.DONE}
        elif run.status == RunStatus.UNDONE:
            assert paid in ("", "refunded", "spent"), f"undone and {paid} {self.picture()}"
            assert status["send"] in (StepStatus.FAILED, StepStatus.SKIPPED)
            assert status["say-sorry"] == StepStatus.DONE
            for name in ("prepare", "pay"):
                assert status[name] in (StepStatus.UNDONE, StepStatus.FAILED, StepStatus.SKIPPED)
        if status.get("send") == StepStatus.DONE:
            assert paid == "charged", f"sent and {paid or 'not paid'} {self.picture()}"
        assert (run.finished_at is None) == (run.status in OPEN_RUNS)

    def _effects(self) -> dict[tuple[str, str], int]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT key, what, count(*) FROM model_effect GROUP BY key, what")
            return {(key, what): times for key, what, times in cursor.fetchall()}

    def picture(self) -> str:
        """Return where everything stands, for who reads a failure."""
        runs = [
            (
                run.key,
                run.status,
                run.epoch,
                run.place,
                run.failure,
                [(row.name, row.status) for row in run.steps.all()],
            )
            for run in Run.objects.order_by("id")
        ]
        return f"runs {runs}, bank {self.bank.status}, messages {[str(message) for message in self.broker.messages]}"

    # The saga ----------------------------------------------------------------------------------------------------

    def _saga(self) -> Saga[Wanted]:
        pay = Step(
            "pay",
            queue="sagas",
            run_many=self._act_together("pay", self._pay),
            undo=self._act("give-back", self._give_back),
            probe=self._act("pay?", self._ask, refuses=self._declined),
            outside=True,
            retry=RETRY,
            undo_retry=RETRY,
        )
        return Saga(
            "modelled",
            input=Wanted,
            deadline=timedelta(hours=1),
            steps=(
                self._inside("prepare", undo="clear-up"),
                pay,
                Pivot("send", queue="sagas", run=self._effect("send"), retry=RETRY),
                self._inside("tell"),
            ),
            after_undo=(self._inside("say-sorry"),),
        )

    def _inside(self, name: str, *, undo: str = "") -> Step:
        return Step(
            name,
            queue="sagas",
            run_many=self._act_together(name, self._write(name)),
            undo=self._effect(undo) if undo else None,
            retry=RETRY,
            undo_retry=RETRY,
        )

    def _effect(self, name: str) -> Callable[[Call[Any]], Result]:
        return self._act(name, self._write(name))

    def _write(self, name: str) -> Callable[[Call[Any]], Result]:
        def write(call: Call[Any]) -> Result:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO model_effect (key, what) VALUES (%s, %s)", [call.idempotency_key, name])
            return {"by": name}

        return write

    def _act(
        self, name: str, work: Callable[[Call[Any]], Result], *, refuses: Callable[[Call[Any]], bool] = lambda _: True
    ) -> Callable[[Call[Any]], Result]:
        def act(call: Call[Any]) -> Result:
            answer = self._answer(name)
            match answer:
                case "rejected" if refuses(call):
                    raise Rejected("no")
                case "busy":
                    raise Retryable("busy")
                case "bug":
                    raise ZeroDivisionError
                case "unknown before":
                    raise OutcomeUnknown("silence")
                case "killed before":
                    self.watch.kill()
            result = work(call)
            if answer == "unknown after":
                raise OutcomeUnknown("silence")
            if answer == "killed after":
                self.watch.kill()
            if answer == "slow" and not connection.in_atomic_block and not self.nested:
                self._others_go_on()
            return result

        act.__name__ = name.replace("-", "_")
        return act

    def _act_together(self, name: str, work: Callable[[Call[Any]], Result]) -> SetFunction:
        """As `_act`, for many calls: an outcome for each, or none where an answer is lost in a batch."""

        def act(calls: Sequence[Call[Any]]) -> dict[UUID, Result | Exception]:
            outcomes: dict[UUID, Result | Exception] = {}
            for call in calls:
                answer = self._answer(name)
                if answer in REFUSALS:
                    outcomes[call.id] = REFUSALS[answer]
                    continue
                if answer == "bug":
                    raise ZeroDivisionError
                if answer == "killed before":
                    self.watch.kill()
                try:
                    outcomes[call.id] = work(call)
                except Rejected as rejected:
                    outcomes[call.id] = rejected
                    continue
                if answer == "killed after":
                    self.watch.kill()
                if answer == "slow" and not connection.in_atomic_block and not self.nested:
                    self._others_go_on()
                    raise TimeoutError  # as the alarm would, at the end of the lease
                if answer == "unknown after":
                    lose(call.id, outcomes, together=len(calls) > 1)
            return outcomes

        return act

    def _answer(self, name: str) -> str:
        said = self.answers.get(name)
        answer = said.pop(0) if said else ""
        # What is rolled back is known.
        return "busy" if connection.in_atomic_block and answer.startswith("unknown") else answer

    def _others_go_on(self) -> None:
        """The call takes longer than its lease: everybody else goes on meanwhile."""
        self.nested, own = True, self.watch
        self.watch = self.broker.watch = Watch()
        self.clock.move(minutes=2)
        try:
            self.broker.sweep()
            for message in self.broker.waiting[:4]:
                self.broker.deliver(message)
        except Killed:
            pass  # one of the others; who called lives
        finally:
            self.nested, self.watch, self.broker.watch = False, own, own

    def _pay(self, call: Call[Any]) -> Result:
        self.bank.charge(call.idempotency_key)
        return {"paid": True}

    def _give_back(self, call: Call[Any]) -> Result:
        self.bank.give_back(call.idempotency_key)
        return None

    def _declined(self, call: Call[Any]) -> bool:
        """Have the bank say that it declined: not after it charged, and it charges no more after that."""
        return self.bank.status.setdefault(call.idempotency_key, "spent") != "charged"

    def _ask(self, call: Call[Any]) -> Result:
        return {"paid": True} if self.bank.status.get(call.idempotency_key) == "charged" else None


#: How a call that is written for many fails before it has an effect.
REFUSALS: dict[str, Exception] = {
    "rejected": Rejected("no"),
    "busy": Retryable("busy"),
    "unknown before": OutcomeUnknown("lost"),
}


def lose(of: UUID, outcomes: dict[UUID, Result | Exception], *, together: bool) -> None:
    """Lose the answer of a call that took effect: alone it is unknown, in a batch it is missing."""
    if together:
        del outcomes[of]
    else:
        outcomes[of] = OutcomeUnknown("lost")
