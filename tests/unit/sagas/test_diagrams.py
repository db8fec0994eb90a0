from typing import Any, ClassVar

import pytest

from sagas.core import diagrams
from sagas.core.events import DomainEvent
from sagas.core.saga import Call, Pivot, Result, Saga, Step
from sagas.core.statuses import RUN_TRANSITIONS, STEP_TRANSITIONS


class Asked(DomainEvent):
    type: ClassVar[str] = "tests.asked"
    aggregate: ClassVar[str] = "test"


def do(call: Call[Any]) -> Result:
    return None


def give_back(call: Call[Any]) -> Result:
    return None


def undo_pay(call: Call[Any]) -> Result:
    return None


def ask_bank(call: Call[Any]) -> Result:
    return None


def is_large(asked: Any) -> bool:
    return True


TAKE = Step("take", queue="stock", run=do, undo=give_back)
PAY = Step("pay", queue="bank", run=do, undo=undo_pay, probe=ask_bank, outside=True, when=is_large)
SEND = Pivot("send", queue="stock", run=do)
TELL = Step("tell", queue="mail", run=do)
SORRY = Step("say-sorry", queue="mail", run=do)


def lines(*steps: Step, undone: tuple[Step, ...] = ()) -> list[str]:
    return diagrams.sequence(Saga("test", input=Asked, steps=steps, after_undo=undone)).splitlines()


def test_a_saga_is_drawn_forward_and_back() -> None:
    assert lines(TAKE, PAY, SEND, TELL, undone=(SORRY,)) == [
        "sequenceDiagram",
        "    participant relay",
        "    participant engine as sagas",
        "    participant stock",
        "    participant bank",
        "    participant mail",
        "    relay->>engine: tests.asked",
        "    engine->>stock: take",
        "    engine-)bank: pay (when is large)",
        "    Note over bank: no answer? ask-bank asks before a second try",
        "    Note over engine: pivot: from here on only forward",
        "    engine->>stock: send",
        "    engine->>mail: tell",
        "    Note over engine: completed",
        "    rect rgb(255, 240, 235)",
        "    Note over engine: a step before the pivot gave up: undo what took effect, in reverse",
        "    engine->>bank: undo-pay",
        "    engine->>stock: give-back",
        "    engine->>mail: say-sorry",
        "    Note over engine: undone",
        "    end",
    ]


def test_without_a_pivot_every_step_is_undone() -> None:
    drawn = lines(TAKE, PAY)
    assert "    Note over engine: pivot: from here on only forward" not in drawn
    assert drawn.index("    engine->>bank: undo-pay") < drawn.index("    engine->>stock: give-back")


def test_an_outside_step_without_a_probe_has_no_note_of_one() -> None:
    drawn = lines(Step("pay", queue="bank", run=do, undo=undo_pay, outside=True))
    assert "    engine-)bank: pay" in drawn
    assert not any("no answer?" in line for line in drawn)


def test_every_line_inside_the_frame_is_closed() -> None:
    drawn = lines(SEND)
    assert drawn.count("    rect rgb(255, 240, 235)") == drawn.count("    end") == 1


@pytest.mark.parametrize(
    ("title", "first", "transitions"),
    [("Run", "running", RUN_TRANSITIONS), ("Step", "pending", STEP_TRANSITIONS)],
)
def test_every_transition_is_drawn_and_no_other(title: str, first: str, transitions: dict[Any, Any]) -> None:
    (drawn,) = (each for each in diagrams.states().split("\n\n") if f"%% {title}\n" in each)
    head, *arrows = [line.strip() for line in drawn.splitlines() if "%%" not in line]
    assert (head, arrows[0]) == ("stateDiagram-v2", f"[*] --> {first}")
    assert sorted(arrows[1:]) == sorted(
        f"{status} --> {following}" for status, targets in transitions.items() for following in targets or ["[*]"]
    )
