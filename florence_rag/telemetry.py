"""Log records without secrets, and spans for OpenTelemetry.

Every module has a logger of its own name below "florence_rag". The package configures no handlers, so Python's default
applies unless your program configures logging: warnings go to standard error. Spans begin only in programs that have
imported OpenTelemetry; this module never imports it.
"""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from florence_rag.redaction import redact

SLOW_S = 2.0
"""Timed calls that take longer are logged as information, others perhaps only for debugging."""

_USUAL = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


class RedactingFilter(logging.Filter):
    """Removes secrets from the message, the arguments, the traceback and the extra fields of a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and let it pass."""
        record.msg = _clean(record.msg)
        record.args = tuple(map(_clean, record.args)) if isinstance(record.args, tuple) else _clean(record.args)
        if record.exc_info and not record.exc_text:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        for name, value in extra_fields(record).items():
            record.__dict__[name] = _clean(value)
        return True


_FILTER = RedactingFilter()


def extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record that `extra` gave it."""
    return {name: value for name, value in record.__dict__.items() if name not in _USUAL}


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module, whose records hold no secrets."""
    logger = logging.getLogger(name)
    logger.addFilter(_FILTER)
    return logger


def _clean(value: Any) -> Any:
    """Redact texts, errors and what else is printed as text; numbers and containers of numbers stay."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    return redact(str(value))


def current_context() -> Any:
    """Return the context of the current span, as `parent` of spans in other threads; None without OpenTelemetry."""
    context = sys.modules.get("opentelemetry.context")
    return context.get_current() if context else None


@contextmanager
def span(name: str, parent: Any = None, **attributes: Any) -> Iterator[None]:
    """Report the block as a span "florence_rag.<name>", if the program has imported OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        yield
        return
    options: dict[str, Any] = {"context": parent, "attributes": {key: _clean(each) for key, each in attributes.items()}}
    options |= {"record_exception": False, "set_status_on_exception": False}  # with the message as it is
    with trace.get_tracer("florence_rag").start_as_current_span(f"florence_rag.{name}", **options) as current:
        try:
            yield
        except Exception as error:
            current.set_status(trace.Status(trace.StatusCode.ERROR, redact(f"{type(error).__name__}: {error}")))
            raise


@contextmanager
def timed(logger: logging.Logger, name: str, level: int = logging.DEBUG, **fields: Any) -> Iterator[dict[str, Any]]:
    """Report the block as a span, and log it afterwards with its duration and the fields.

    Args:
        logger: The logger of the module.
        name: The name of the span, and the field `event` of the record.
        level: The level of the record, which is at least that of information for a slow block.
        fields: The attributes of the span, and further fields of the record.

    Yields:
        A dictionary that receives further fields of the log record.
    """
    started, more = time.perf_counter(), dict[str, Any]()
    with span(name, **fields):
        yield more
    seconds = round(time.perf_counter() - started, 3)
    found = {**fields, **more}
    details = ", ".join(f"{key}={value}" for key, value in found.items())
    level = max(level, logging.INFO) if seconds >= SLOW_S else level
    logger.log(level, "%s took %.3f s (%s)", name, seconds, details, extra={"event": name, "seconds": seconds, **found})
