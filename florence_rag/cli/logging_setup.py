"""What the command line writes about its work, and what libraries may not write to its terminal."""

import json
import logging
import os
import sys
from typing import Any

from florence_rag.telemetry import extra_fields


class JSONFormatter(logging.Formatter):
    """Formats a record as a line of JSON with its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **extra_fields(record),
        }
        if record.exc_info:
            line["traceback"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure_logging(level: str, *, as_json: bool) -> None:
    """Write the records of this package to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if as_json else logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("florence_rag")
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False


def quiet_libraries() -> None:
    """Set their environment variables before they are imported; variables that you have set are kept."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # keep-alive notices of Milvus Lite's own server
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # a bar for weights that load in milliseconds
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # warnings about how Ray Data uses Ray
