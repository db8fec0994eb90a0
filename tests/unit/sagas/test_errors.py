import pytest

from sagas.core.errors import FailureKind, OutcomeUnknown, Rejected, Retryable, StepFailed, kind_of


@pytest.mark.parametrize(
    ("error", "inside", "outside"),
    [
        (Rejected("no"), FailureKind.REJECTED, FailureKind.REJECTED),
        (Retryable("later"), FailureKind.RETRYABLE, FailureKind.RETRYABLE),
        (OutcomeUnknown("?"), FailureKind.UNKNOWN, FailureKind.UNKNOWN),
        (ZeroDivisionError(), FailureKind.UNEXPECTED, FailureKind.UNKNOWN),
    ],
)
def test_the_class_of_an_exception_decides_never_its_text(
    error: Exception, inside: FailureKind, outside: FailureKind
) -> None:
    assert kind_of(error, outside=False) is inside
    assert kind_of(error, outside=True) is outside


class ReceiverIsBusy(Retryable):
    def __init__(self, status: int) -> None:
        self.status = status


def test_a_subclass_may_leave_out_the_pause() -> None:
    assert ReceiverIsBusy(503).retry_after_seconds is None


def test_the_pause_may_be_given_as_the_text_of_a_header() -> None:
    assert Retryable("busy", retry_after_seconds="120").retry_after_seconds == 120.0  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="soon"):
        Retryable("busy", retry_after_seconds="soon")  # type: ignore[arg-type]


def test_a_failed_step_says_which() -> None:
    assert str(StepFailed("r1", "pay", "CardDeclined: no")) == "run r1: step pay failed: CardDeclined: no"
