import io
import json
import logging
import logging.config
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog

from sagas.core.cause import Cause, caused_by
from sagas.core.ids import new_id
from shop.platform import logs


class Lines(io.StringIO):
    """What was logged, line by line."""

    def read_all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    written = Lines()
    formatters = logs.config("INFO")["formatters"]
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.config.DictConfigurator({"version": 1}).configure_formatter(formatters["structlog"]))
    logger = logging.getLogger("tests.logs")
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield written
    logger.removeHandler(handler)
    logger.propagate = True


def test_an_event_is_one_line_of_json(lines: Lines) -> None:
    structlog.get_logger("tests.logs").warning("not_published", chains=2, error="no\nanswer")
    (line,) = lines.read_all()
    timestamp = line.pop("timestamp")
    assert timestamp.endswith("Z")
    assert line == {
        "event": "not_published",
        "logger": "tests.logs",
        "level": "warning",
        "chains": 2,
        "error": "no\nanswer",
    }


def test_lines_of_other_libraries_look_the_same(lines: Lines) -> None:
    logging.getLogger("tests.logs").warning("task %s is %s", "t1", "late")
    (line,) = lines.read_all()
    assert (line["event"], line["logger"], line["level"]) == ("task t1 is late", "tests.logs", "warning")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("logger", [structlog.get_logger("tests.logs"), logging.getLogger("tests.logs")])
def test_every_line_below_a_cause_has_its_correlation_id(lines: Lines, logger: Any) -> None:
    correlation_id = new_id()
    with caused_by(Cause(correlation_id=correlation_id)):
        logger.warning("inside")
    logger.warning("outside")
    inside, outside = lines.read_all()
    assert inside["correlation_id"] == str(correlation_id)
    assert "correlation_id" not in outside


@pytest.mark.parametrize("logger", [structlog.get_logger("tests.logs"), logging.getLogger("tests.logs")])
def test_an_exception_stays_on_its_line(lines: Lines, logger: Any) -> None:
    try:
        int("wrong")
    except ValueError:
        logger.exception("failed")
    (line,) = lines.read_all()
    assert (line["event"], line["level"]) == ("failed", "error")
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("\nValueError: invalid literal for int() with base 10: 'wrong'")


def test_what_json_cannot_hold_is_written_in_words(lines: Lines) -> None:
    structlog.get_logger("tests.logs").warning("odd", what={1, 2}.__class__)
    assert lines.read_all()[0]["what"] == "<class 'set'>"


def test_what_is_below_the_level_is_not_written(lines: Lines) -> None:
    structlog.get_logger("tests.logs").debug("too much")
    assert lines.getvalue() == ""


def test_the_level_is_that_of_all_but_the_talkative() -> None:
    config = logs.config("DEBUG")
    assert config["root"] == {"handlers": ["console"], "level": "DEBUG"}
    assert config["disable_existing_loggers"] is False
    assert config["loggers"] == {
        name: {"level": "WARNING"}
        for name in ("celery.app.trace", "celery.worker.strategy", "celery.beat", "django_structlog")
    }


@pytest.mark.parametrize(
    ("terminal", "renderer"),
    [(True, structlog.dev.ConsoleRenderer), (False, structlog.processors.JSONRenderer)],
)
def test_people_read_colours_and_collectors_json(
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    renderer: type[object],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    processors = logs.config("INFO")["formatters"]["structlog"]["processors"]
    assert isinstance(processors[-1], renderer)
    assert (structlog.processors.format_exc_info in processors) is not terminal


# Failures that come again and again ---------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def moment(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("shop.platform.logs.monotonic", clock)
    (handler,) = logging.getLogger("tests.logs").handlers
    handler.addFilter(logs.Repeats())
    return clock


@pytest.mark.parametrize("logger", [structlog.get_logger("tests.logs"), logging.getLogger("tests.logs")])
def test_a_failure_that_goes_on_is_told_ever_more_rarely_with_how_often_it_came(
    lines: Lines, moment: Clock, logger: Any
) -> None:
    """Eight times a second: told after 0, 1, 3, 7, 15, 31, 63, 123 and 183 seconds."""
    for _ in range(8 * 200):
        logger.warning("refused")
        moment.seconds += 0.125
    repeated = [0, 7, 15, 31, 63, 127, 255, 479, 479]
    assert [(line["event"], line.get("repeated", 0)) for line in lines.read_all()] == [("refused", n) for n in repeated]


@pytest.mark.parametrize("logger", [structlog.get_logger("tests.logs"), logging.getLogger("tests.logs")])
def test_another_handler_gets_the_same_text_each_time(
    moment: Clock, caplog: pytest.LogCaptureFixture, logger: Any
) -> None:
    logging.getLogger("tests.logs").addHandler(caplog.handler)
    for _ in range(3):
        logger.warning("refused")
        moment.seconds += 0.6
    logging.getLogger("tests.logs").removeHandler(caplog.handler)
    texts = [record.msg["event"] if isinstance(record.msg, dict) else record.getMessage() for record in caplog.records]
    assert texts == ["refused"] * 3
    assert not [record for record in caplog.records if isinstance(record.msg, dict) and "repeated" in record.msg]


def test_a_failure_that_comes_back_is_told_at_once(lines: Lines, moment: Clock) -> None:
    for pause_seconds in (0.0, 2.0, 1.5, 61.0, 0.5):
        moment.seconds += pause_seconds
        structlog.get_logger("tests.logs").warning("refused")
    assert [line.get("repeated", 0) for line in lines.read_all()] == [0, 0, 0]


def test_ids_and_figures_make_no_other_failure_and_names_do(lines: Lines, moment: Clock) -> None:
    logger = structlog.get_logger("tests.logs")
    for number, queue in enumerate(["orders", "orders", "payments", "orders"]):
        logger.warning("refused", queue=queue, run_id=str(new_id()), error=f"port {number} of 127.0.0.{number}")
        logging.getLogger("tests.logs").error("task %s of %s", new_id(), queue)
    assert [line.get("queue") or line["event"].rpartition(" ")[2] for line in lines.read_all()] == [
        *["orders"] * 2,
        *["payments"] * 2,
    ]


def test_what_is_no_failure_is_told_each_time(lines: Lines, moment: Clock) -> None:
    for _ in range(3):
        structlog.get_logger("tests.logs").info("done")
    assert len(lines.read_all()) == 3


def test_no_more_failures_are_remembered_than_it_needs(moment: Clock) -> None:
    repeats = logs.Repeats()
    for number in range(2_000):
        name = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        assert repeats.filter(logging.LogRecord("tests", logging.ERROR, "", 0, name, None, None))
    assert len(repeats._known) == 1_000


def test_all_that_is_written_passes_through_it() -> None:
    config = logs.config("INFO")
    assert config["filters"] == {"repeats": {"()": logs.Repeats}}
    assert [handler["filters"] for handler in config["handlers"].values()] == [["repeats"]]


def test_a_line_that_cannot_be_formatted_does_not_stop_its_caller() -> None:
    wrong = logging.LogRecord("tests.logs", logging.WARNING, __file__, 1, "bad %d", ("x",), None)
    assert logs.Repeats().filter(wrong)


class SlowDictionary(dict[str, Any]):
    """Lets another thread run after each `pop`."""

    def pop(self, *arguments: Any) -> Any:
        found = super().pop(*arguments)
        time.sleep(0.001)
        return found


def test_lines_of_many_threads_are_all_counted(lines: Lines, moment: Clock) -> None:
    logger = logging.getLogger("tests.logs")
    (repeats,) = [each for each in logger.handlers[0].filters if isinstance(each, logs.Repeats)]
    repeats._known = SlowDictionary()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(logger.warning, ["broken"] * 80))
    moment.seconds += 2
    logger.warning("broken")
    assert [line.get("repeated", 0) for line in lines.read_all()] == [0, 79]


def test_two_exceptions_at_one_place_are_two_failures(lines: Lines, moment: Clock) -> None:
    for error in (ValueError("x"), KeyError("x")):
        logging.getLogger("tests.logs").error("relay_failed", exc_info=error)
        structlog.get_logger("tests.logs").error("sweep_failed", exc_info=error)
    assert len(lines.read_all()) == 4
