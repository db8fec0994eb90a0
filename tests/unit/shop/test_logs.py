import io
import json
import logging
import logging.config
import sys
from collections.abc import Iterator
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
