from sagas.core.statuses import LIVE_RUNS, OPEN_RUNS, RUN_TRANSITIONS, STEP_TRANSITIONS, RunStatus, StepStatus


def test_every_status_has_its_transitions() -> None:
    assert set(RUN_TRANSITIONS) == set(RunStatus)
    assert set(STEP_TRANSITIONS) == set(StepStatus)


def test_what_is_not_open_is_the_end() -> None:
    assert {status for status in RunStatus if not RUN_TRANSITIONS[status]} == set(RunStatus) - set(OPEN_RUNS)
    assert set(LIVE_RUNS) < set(OPEN_RUNS)
