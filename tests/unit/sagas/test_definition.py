from typing import Any, ClassVar

import pytest

from sagas.core.errors import DefinitionError
from sagas.core.events import DomainEvent
from sagas.core.saga import Call, Pivot, Result, Saga, Step, task_name


class Asked(DomainEvent):
    type: ClassVar[str] = "tests.asked"
    aggregate: ClassVar[str] = "test"


def do(call: Call[Any]) -> Result:
    return None


def undo_it(call: Call[Any]) -> Result:
    return None


def saga(*steps: Step, undone: tuple[Step, ...] = ()) -> Saga[Asked]:
    return Saga("test", input=Asked, steps=steps, after_undo=undone)


A = Step("a", queue="q", run=do, undo=undo_it)
PIVOT = Pivot("pivot", queue="q", run=do)
AFTER = Step("after", queue="q", run=do)


def test_a_good_definition_has_no_faults() -> None:
    assert list(saga(A, PIVOT, AFTER, undone=(Step("tell", queue="q", run=do),)).faults()) == []


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (saga(), "it has no steps"),
        (saga(A, AFTER), "step 'after' stands before the pivot and has no undo"),
        (saga(A, PIVOT, Pivot("second", queue="q", run=do)), "it has more than one pivot"),
        (saga(A, PIVOT, PIVOT), "the name 'pivot' stands for more than one step or undo"),
        (
            saga(A, Step("undo-it", queue="q", run=do, undo=do)),
            "the name 'undo-it' stands for more than one step or undo",
        ),
        (
            saga(PIVOT, A),
            "step 'a' cannot have an undo: the pivot and what follows only go forward",
        ),
        (
            saga(Step("far", queue="q", run=do, undo=undo_it, outside=True)),
            "step 'far' calls outside and has no probe to ask after a lost answer",
        ),
        (saga(PIVOT, undone=(A,)), "step 'a' follows the undo and only goes forward"),
    ],
)
def test_a_fault_is_named(wrong: Saga[Asked], fault: str) -> None:
    assert fault in list(wrong.faults())


def test_the_hash_changes_with_what_a_run_could_notice() -> None:
    assert saga(A, PIVOT).definition_hash == saga(A, PIVOT).definition_hash
    assert saga(A, PIVOT).definition_hash != saga(A, AFTER).definition_hash
    assert saga(A, PIVOT, AFTER).definition_hash != saga(AFTER, A, PIVOT).definition_hash


def test_an_unknown_step_is_a_definition_error() -> None:
    with pytest.raises(DefinitionError, match="saga test has no step 'gone'"):
        saga(A).step("gone")


def test_a_step_is_a_task_of_its_context() -> None:
    assert A.task == "q.a"
    assert A.undo_task == "q.undo_it"
    assert task_name("inventory", "reserve-stock") == "inventory.reserve_stock"
