import ast
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.ingest.progress import StageTimer
from florence_rag.rag import FlorenceRAG
from florence_rag.telemetry import get_logger, span, timed

ROOT = Path(__file__).parents[1]
LIBRARY = [path for path in (ROOT / "florence_rag").rglob("*.py") if path.relative_to(ROOT).parts[1] != "cli"]

log = get_logger("florence_rag.test")


@pytest.fixture(scope="module")
def exporter():
    """Return what receives the spans of this process; a process has one provider."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter):
    exporter.clear()
    return exporter.get_finished_spans


def names(spans):
    return [each.name.removeprefix("florence_rag.") for each in spans()]


@pytest.fixture
def rag(tmp_path):
    Image.new("RGB", (96, 96), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "notes.txt").write_text("a red wall")
    with FlorenceRAG.open(tmp_path / "x.db", "florence-tiny", ocr="always") as rag:
        yield rag


def test_records_have_no_secrets_in_any_of_their_parts(caplog):
    caplog.set_level(logging.INFO, "florence_rag")
    url = "https://me:S3cr3t@host/a.jpg?sig=S3cr3t"
    try:
        raise OSError(f"cannot open {url}")
    except OSError as error:
        log.info("%s failed: %s", url, error, exc_info=True, extra={"source": url})
    log.info("in %(url)s", {"url": url, "count": 3})
    log.info(f"all in {url}", extra={"counts": {"a": 1, "b": url}, "list": [url]})
    assert "https://***@host/a.jpg" in caplog.text
    for record in caplog.records:
        assert "S3cr3t" not in str({key: value for key, value in record.__dict__.items() if key != "exc_info"})
    assert caplog.records[1].args == {"url": "https://***@host/a.jpg?sig=***", "count": 3}


def test_a_run_and_a_search_are_logged_with_fields(rag, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "florence_rag")
    rag.add(tmp_path)
    rag.search("a red wall")
    records = {record.event: record for record in caplog.records if hasattr(record, "event")}
    assert records["index.begin"].files == 3
    end = records["index.end"]
    assert (end.added, end.failed, end.removed) == (2, 1, 0) and end.seconds > 0 and end.seconds_embed > 0
    assert records["file.failed"].source.endswith("broken.png") and records["file.failed"].reason
    assert records["model.load"].model == "rapidocr" and records["model.load"].levelno == logging.INFO
    assert records["search"].hits > 0 and records["search"].levelno <= logging.INFO
    assert "red wall" not in records["search"].getMessage()


def test_slow_calls_are_logged_for_information(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "florence_rag")
    with timed(log, "fast"):
        pass
    monkeypatch.setattr("florence_rag.telemetry.SLOW_S", 0.0)
    with timed(log, "slow", k=3) as fields:
        fields["hits"] = 2
    (record,) = caplog.records
    assert (record.event, record.k, record.hits) == ("slow", 3, 2)
    assert record.getMessage().startswith("slow took 0.0") and record.getMessage().endswith("(k=3, hits=2)")


def test_stages_are_spans_of_the_run_also_in_threads(rag, tmp_path, spans):
    rag.add(tmp_path)
    found = {name.removeprefix("florence_rag."): each for each in spans() for name in [each.name]}
    assert {"index", "index.discover", "index.read", "index.ocr", "index.embed", "index.store"} <= found.keys()
    run = found["index"].context.trace_id
    assert all(each.context.trace_id == run for name, each in found.items() if name.startswith("index"))


def test_a_search_and_a_question_are_spans(rag, tmp_path, spans):
    rag.add(tmp_path)
    before = len(spans())
    rag.search("a red wall")
    assert names(spans)[before:] == ["search.embed", "search.branches", "search.fuse", "search"]
    rag.ask("what color is the wall?")
    assert names(spans)[-1] == "ask" and spans()[-1].attributes["answerer"] == "Answerer"


def test_a_failed_span_has_the_reason_without_secrets(spans):
    with pytest.raises(InputError), span("part", url="https://me:S3cr3t@host/", count=3):
        raise InputError("https://me:S3cr3t@host/ is away")
    (found,) = spans()
    assert dict(found.attributes) == {"url": "https://***@host/", "count": 3}
    assert found.status.description == "InputError: https://***@host/ is away" and not found.events


def test_a_timer_is_a_child_of_the_span_that_created_it(spans):
    with span("index"):
        timer = StageTimer()

    def work():
        with timer("read"):
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    index, read = spans()
    assert read.name == "florence_rag.index.read" and read.parent.span_id == index.context.span_id


def test_nothing_is_imported_for_spans_and_logs():
    program = (
        "import sys, florence_rag.telemetry as t\n"
        "with t.span('a'), t.timed(t.get_logger('a'), 'b'): pass\n"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_the_library_prints_nothing_and_configures_no_logging():
    for path in LIBRARY:
        check_calls(path)


def check_calls(path):
    forbidden = {"print", "pprint", "sys.stdout.write", "sys.stderr.write", "logging.basicConfig", "logging.info"}
    forbidden |= {"logging.warning", "logging.error", "logging.exception", "logging.debug"}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in forbidden, f"{path}:{node.lineno}"
            assert ast.unparse(node) != "logging.getLogger(__name__)", f"{path}:{node.lineno} needs get_logger"
