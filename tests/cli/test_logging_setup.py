import json
import logging
import os
import sys

import pytest

from florence_rag.cli.logging_setup import JSONFormatter, quiet_libraries
from florence_rag.telemetry import RedactingFilter


def test_variables_of_the_user_are_kept(monkeypatch):
    monkeypatch.setattr(os, "environ", {"GRPC_VERBOSITY": "DEBUG"})
    quiet_libraries()
    assert os.environ["GRPC_VERBOSITY"] == "DEBUG" and os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"


@pytest.fixture
def logger():
    """Return the logger of the package, whose settings are restored."""
    logger = logging.getLogger("florence_rag")
    before = logger.handlers[:], logger.level, logger.propagate
    yield logger
    logger.handlers[:], level, logger.propagate = before
    logger.setLevel(level)


def test_records_are_lines_of_json_with_their_fields(run, opened_with, logger, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    outcome = run("--log-json", "index", tmp_path, "--ocr", "never")
    lines = [json.loads(line) for line in outcome.err.splitlines() if line.startswith("{")]
    events = {line["event"]: line for line in lines if "event" in line}
    assert events["index.begin"]["files"] == 1 and events["index.end"]["failed"] == 1
    failed = events["file.failed"]
    assert failed["source"].endswith("broken.png") and failed["reason"] and failed["level"] == "info"
    assert failed["logger"] == "florence_rag.ingest.run"


def test_records_are_printed_from_a_level_on(run, opened_with, logger, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "INFO florence_rag.ingest.run: " in run("--log-level", "info", "index", tmp_path, "--ocr", "never").err
    logger.handlers.clear()
    assert "INFO" not in run("--log-level", "warning", "index", tmp_path, "--ocr", "never").err
    assert run("--log-level", "loud", "info").code == 2


def test_a_traceback_is_a_field_without_secrets():
    try:
        raise OSError("https://u:S3cr3t@h/")
    except OSError:
        record = logging.makeLogRecord({"msg": "no", "exc_info": sys.exc_info()})
    RedactingFilter().filter(record)
    line = json.loads(JSONFormatter().format(record))
    assert "https://***@h/" in line["traceback"] and "S3cr3t" not in str(line)
