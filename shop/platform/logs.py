"""Log lines of every process: one structlog event each, with the correlation id if there is one."""

import logging
import re
import sys
import threading
from dataclasses import dataclass
from time import monotonic
from typing import Any

import structlog

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


#: The parts that differ between lines of the same failure: ids, moments, figures.
_VARIES = re.compile(r"\w*\d[\w.:+-]*")
#: A repeated failure is written again after the first pause, which is doubled each time, up to the last.
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 1.0, 60.0
#: After this time without a repetition it is a new failure.
_OVER_SECONDS = 60.0
#: Maximum number of remembered failures.
_MAX_FAILURES = 1_000


@dataclass
class _Repeated:
    at: float
    seen_at: float
    pause_seconds: float = _FIRST_PAUSE_SECONDS
    repeated: int = 0


class Repeats(logging.Filter):
    """Writes a repeated failure more and more rarely, with the number of omitted lines (`repeated`).

    Other handlers get the same record, so its text stays as it is: `_add_repeated` adds the number to the line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, _Repeated] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a line is written."""
        fingerprinted = isinstance(record.msg, dict) and "fingerprint" in record.msg
        if record.levelno < logging.WARNING and not fingerprinted:
            return True
        try:
            failure = _failure(record)
        except Exception:  # noqa: BLE001 - the handler reports it, and the caller goes on
            return True
        with self._lock:
            return self._is_written(record, failure, monotonic())

    def _is_written(self, record: logging.LogRecord, failure: str, now: float) -> bool:
        known = self._known.pop(failure, None)
        if known is None or now - known.seen_at > _OVER_SECONDS:
            if len(self._known) >= _MAX_FAILURES:
                del self._known[next(iter(self._known))]  # the one seen longest ago
            self._known[failure] = _Repeated(at=now, seen_at=now)
            return True
        self._known[failure], known.seen_at = known, now
        if now - known.at < known.pause_seconds:
            known.repeated += 1
            return False
        record.repeated = known.repeated
        known.at, known.repeated = now, 0
        known.pause_seconds = min(2 * known.pause_seconds, _LAST_PAUSE_SECONDS)
        return True


def _add_repeated(_logger: Any, _name: str, line: Any) -> Any:
    if repeated := getattr(line["_record"], "repeated", 0):
        line["repeated"] = repeated
    return line


def _failure(record: logging.LogRecord) -> str:
    """Return the common part of the lines of one failure."""
    line: Any = record.msg  # a dictionary, when structlog wrote it
    if not isinstance(line, dict):
        return f"{record.name} {_VARIES.sub('#', record.getMessage())} {_type(record.exc_info)}"
    if "fingerprint" in line:
        return f"{line['event']} {line['fingerprint']}"
    fields = " ".join(f"{name}={line[name]}" for name in sorted(line) if name not in _OF_THE_LINE)
    return f"{_VARIES.sub('#', fields)} {_type(line.get('exc_info'))}"


def _type(exc_info: Any) -> str:
    """Return the name of the exception, however it was handed over: as itself, as a tuple, or as True."""
    raised = sys.exc_info() if exc_info is True else exc_info
    error = raised[1] if isinstance(raised, tuple) else raised
    return type(error).__name__ if error else ""


_OF_THE_LINE = ("exc_info", "timestamp", "correlation_id", "_record", "_from_structlog")


def config(level: str) -> dict[str, Any]:
    """Return the `LOGGING` setting; colours for a terminal, JSON lines for a file or a collector."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: Any = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    exceptions = [] if sys.stderr.isatty() else [structlog.processors.format_exc_info]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structlog": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _SHARED,
                "processors": [
                    _add_repeated,
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *exceptions,
                    renderer,
                ],
            },
        },
        "filters": {"repeats": {"()": Repeats}},
        "handlers": {
            "console": {"class": "logging.StreamHandler", "formatter": "structlog", "filters": ["repeats"]},
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # A line for each received and finished task costs more than a third of the throughput (measured).
            "celery.app.trace": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.beat": {"level": "WARNING"},
            "django_structlog": {"level": "WARNING"},
        },
    }
