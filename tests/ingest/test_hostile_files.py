"""Runs over files that never end, crash or need too much memory: the others are stored, and these are named."""

import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from functools import partial

import pytest
from PIL import Image

from florence_rag.context import Models
from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.ingest import read_stage
from florence_rag.ingest.embed_stage import EmbedStage
from florence_rag.ingest.engine import IngestConfig, ThreadEngine
from florence_rag.ingest.read_stage import FileReader
from florence_rag.ingest.run import IngestRun
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from florence_rag.types import Source
from florence_rag.workers import Limits
from tests.chunking.samples import pdf_page, pdf_stream
from tests.ingest import tasks

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
MB = 2**20


def tiling():
    """A page that is filled with a pattern of 40 billion tiles."""
    pattern = pdf_stream(
        "/Type /Pattern /PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 .01 .01] /XStep .001 /YStep .001 "
        "/Resources << >>",
        b"0 0 1 1 re f",
    )
    return pdf_page(b"/Pattern cs /P scn 0 0 200 200 re f", pattern, resources="/Pattern << /P 6 0 R >>")


def nested_forms(depth=24):
    """A page whose form draws a form twice, which draws a form twice, ..."""
    forms = [
        pdf_stream(
            f"/Type /XObject /Subtype /Form /BBox [0 0 200 200] /Resources << /XObject << /F {7 + i} 0 R >> >>",
            b"/F Do /F Do" if i < depth - 1 else b"0 0 50 50 re f",
        )
        for i in range(depth)
    ]
    return pdf_page(b"/F Do", *forms, resources="/XObject << /F 6 0 R >>")


def content_bomb():
    return pdf_page(zlib.compress(b"0 0 1 1 re f\n" * 20_000_000, 9), entries="/Filter /FlateDecode")


def text_bomb():
    text = b"BT /F1 1 Tf " + b"(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa) Tj\n" * 400_000 + b" ET"
    return pdf_page(zlib.compress(text, 9), entries="/Filter /FlateDecode")


HOSTILE = {"tiling": tiling, "forms": nested_forms, "content": content_bomb, "text": text_bomb}


def write_good(folder, count=6):
    for number in range(count):
        Image.fromarray(color_frame(number % 3)).save(folder / f"good{number}.png")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def rag_of(**config):
    return FlorenceRAG(MemoryIndex(ColorEmbedder.info), ColorEmbedder(), ingest=IngestConfig(threads=2, **config))


@pytest.mark.parametrize("name", ["tiling", pytest.param("forms", marks=pytest.mark.slow)])
def test_a_file_that_never_ends_is_stopped_and_named_and_tried_again_only_with_more_time(folder, name, monkeypatch):
    (folder / "a.pdf").write_bytes(HOSTILE[name]())
    (folder / "good.txt").write_text("A good text.")
    rag = rag_of(file_timeout_s=3)
    report = rag.add(folder)
    assert report.added == 1
    (failure,) = report.failed
    assert failure.source == str(folder / "a.pdf")
    assert failure.reason.startswith(
        "reading it takes longer than the limit of 3 s; raise it with florence-rag index --file-timeout"
    )
    with monkeypatch.context() as patch:
        patch.setattr(read_stage, "stream_file", None)  # nothing is read again
        assert rag.add(folder).failed == report.failed
    more = FlorenceRAG(rag.index, rag.models, ingest=IngestConfig(file_timeout_s=3.5))
    assert "limit of 3.5 s" in more.add(folder).failed[0].reason


@on_linux
@pytest.mark.parametrize("name", ["content", "text"])
def test_a_file_that_needs_too_much_memory_is_named_and_the_others_are_stored(folder, name):
    (folder / "a.pdf").write_bytes(HOSTILE[name]())
    (folder / "good.txt").write_text("A good text.")
    report = rag_of(memory_budget_mb=768).add(folder)
    assert report.added == 1
    (failure,) = report.failed
    assert failure.source == str(folder / "a.pdf")
    assert (
        "needs more memory than the limit of 208 MB; raise it with florence-rag index --memory-budget" in failure.reason
    )


@on_linux
def test_large_images_that_need_more_than_their_share_are_read_alone_in_the_end(folder):
    Image.new("RGB", (6000, 5000), "red").save(folder / "large.png", compress_level=1)
    Image.new("RGB", (4500, 3000), "blue").save(folder / "large.webp", quality=5, method=0)
    (folder / "small.txt").write_text("A small text.")
    seen = []
    report = rag_of(memory_budget_mb=768, batch_size=1).add(folder, progress=lambda step: seen.append(step.source))
    assert (report.added, report.failed) == (3, ())
    assert seen[0].endswith("small.txt")


def ingest(names, chunker, lone=None, **config):
    """Run an engine over sources, and return the run."""
    run = IngestRun(MemoryIndex(ColorEmbedder.info), len(names))
    stage = EmbedStage.from_models(Models.of(ColorEmbedder()))
    sources = [Source(name if ":" in name else f"/{name}", "pdf", 1, 1, name) for name in names]
    run.ingest(sources, ThreadEngine(stage, chunker, config=IngestConfig(**config), lone_chunker=lone))
    return run


def pages_of(run):
    return {(hit.source, hit.locator.page) for hit in run.index.find()}


@on_linux
def test_a_crash_of_a_decoder_is_the_failure_of_its_file_alone():
    run = ingest(["a", "crash", "b"], FileReader(tasks.crash_or_read, Limits()), threads=1)
    assert pages_of(run) == {("/a", 1), ("/a", 2), ("/b", 1), ("/b", 2)}
    (failure,) = run.failures
    assert failure.source == "/crash" and "ends its process (SIGSEGV)" in failure.reason


@on_linux
def test_a_file_that_is_read_again_alone_goes_on_where_it_stopped():
    chunker = partial(tasks.need_memory, size=200 * MB)
    readers = [FileReader(chunker, Limits(memory_bytes=size * MB)) for size in (50, 400)]
    run = ingest(["large", "a"], *readers, threads=2)
    assert run.failures == [] and run.chunks == 6
    assert pages_of(run) == {(name, page) for name in ("/large", "/a") for page in (1, 2, 3)}
    assert [source.uri for source in run.done] == ["/a", "/large"]


def test_what_is_read_is_stored_while_all_readers_are_busy(monkeypatch):
    monkeypatch.setattr(read_stage, "_IDLE_S", 0.1)
    flushed = threading.Event()

    class Index(MemoryIndex):
        def flush_buffer(self):
            if run.chunks:
                flushed.set()

    def chunker(source):
        yield from tasks.pages(source, [1])
        assert flushed.wait(10)
        yield from tasks.pages(source, [2])

    run = IngestRun(Index(ColorEmbedder.info), 1)
    stage = EmbedStage.from_models(Models.of(ColorEmbedder()))
    run.ingest([Source("/a", "pdf", 1, 1, "a")], ThreadEngine(stage, chunker))
    assert run.failures == [] and run.chunks == 2


def test_a_worker_that_reads_files_imports_no_model_and_no_store(tmp_path):
    Image.fromarray(color_frame("red")).save(tmp_path / "a.png")
    rag = rag_of()
    rag.add(tmp_path)
    chunks = list(FileReader(tasks.modules, Limits())(Source("/a", "text", 1, 1, "a")))
    assert not {"torch", "transformers", "pymilvus"} & set(chunks[0].text.split())


PROGRAM = """
import sys
from florence_rag import FlorenceRAG
from florence_rag.index.milvus import MilvusIndex
from florence_rag.ingest.engine import IngestConfig
from florence_rag.testing import ColorEmbedder

index = MilvusIndex.open(sys.argv[2], ColorEmbedder.info)
with FlorenceRAG(index, ColorEmbedder(), ingest=IngestConfig(threads=2, batch_size=1)) as rag:
    try:
        rag.add(sys.argv[1], progress=lambda step: print(step.files_done, flush=True))
    finally:
        print("stopped", flush=True)
"""


@on_linux
def test_ctrl_c_ends_a_run_at_once_and_keeps_what_is_stored(folder, tmp_path):
    for number in range(2):
        (folder / f"hang{number}.pdf").write_bytes(tiling() + b"%" * number)
    (folder / "good.txt").write_text("A good text.")
    database = str(tmp_path / "t.db")
    command = [sys.executable, "-c", PROGRAM, folder, database]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=-1, stderr=-3, text=True) as program:
        while program.stdout.readline().strip() != "1":
            assert program.poll() is None
        program.send_signal(signal.SIGINT)
        began = time.monotonic()
        while program.stdout.readline().strip() != "stopped":
            assert program.poll() is None
        assert time.monotonic() - began < 20
        program.wait(30)
    index = MilvusIndex.open(database, ColorEmbedder.info)
    with FlorenceRAG(index, ColorEmbedder()) as rag:
        assert list(rag.index.sources()) == [str(folder / "good.txt")]


def test_limits_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="file_timeout_s is 0; give more than 0, or None"):
        IngestConfig(file_timeout_s=0)
    with pytest.raises(InputError, match="memory_budget_mb is 100; give at least 768"):
        IngestConfig(memory_budget_mb=100)
    assert IngestConfig(memory_budget_mb=1024).limits(2).memory_bytes == 208 * MB


def test_a_file_that_stands_for_very_many_chunks_is_cut_with_a_word_and_read_on_with_a_higher_limit(folder):
    pages = [Image.new("L", (8, 8)) for _ in range(7)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    (folder / "four.txt").write_text("word " * 480)
    rag = rag_of(max_chunks_per_file=4)
    report = rag.add(folder)
    (skipped,) = report.skipped
    assert (report.added, len(list(rag.index.find()))) == (2, 8)
    assert skipped.source.endswith("pages.tif") and skipped.locator.page == 5
    assert skipped.reason == ("rest of a file with more than 4 chunks (raise it with florence-rag index --max-chunks)")
    assert rag.add(folder).unchanged == 2
    more = FlorenceRAG(rag.index, rag.models, ingest=IngestConfig(max_chunks_per_file=None))
    report = more.add(folder)
    assert (report.updated, report.unchanged, report.skipped, len(list(rag.index.find()))) == (1, 1, (), 11)


def test_a_container_of_members_that_exceed_limits_is_given_up_after_the_others_are_read():
    members = [f"tar:/a.tar#crash{number}.pdf" for number in range(40)]
    run = ingest([*members, "b"], FileReader(tasks.crash_or_read, Limits()), threads=1)
    assert [source.uri for source in run.done] == ["/b"]
    assert len(run.failures) == 40
    reasons = Counter(failure.reason.partition(",")[0].partition(" (")[0] for failure in run.failures)
    assert reasons == {"reading it ends its process": 10, "it is not read": 30}


def test_files_with_the_bytes_of_one_that_cannot_be_read_fail_without_being_read(folder, monkeypatch):
    read = []
    stream_file = read_stage.stream_file
    monkeypatch.setattr(
        read_stage,
        "stream_file",
        lambda uri, *arguments, **limits: read.append(uri) or stream_file(uri, *arguments, **limits),
    )
    for number in range(5):
        (folder / f"bad'{number}.png").write_bytes(b"no image")
    report = rag_of().add(folder)
    assert len(set(read)) == 1
    for number, failure in enumerate(report.failed):
        assert failure.source.endswith(f"bad'{number}.png") and f"bad'{number}.png" in failure.reason
    assert rag_of().add(folder).failed == report.failed


def test_members_that_need_much_memory_do_not_move_those_that_do_not_to_the_end():
    members = [f"tar:/a.tar#{'large' if number < 12 else 'small'}{number}.pdf" for number in range(14)]
    readers = [
        FileReader(partial(tasks.need_memory, size=200 * MB), Limits(memory_bytes=size * MB)) for size in (50, 400)
    ]
    run = ingest(members, *readers, threads=1)
    assert [source.uri for source in run.done] == [*members[12:], *members[:12]]
