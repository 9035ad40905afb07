import threading
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from florence_rag.chunking import chunk_or_skip, chunk_paths
from florence_rag.context import Models, loaded
from florence_rag.errors import MediaError
from florence_rag.ingest.progress import StageTimer
from florence_rag.ingest.read_stage import FileReader, OCRStage, ReadEvent, is_raised, prefetch, read_source
from florence_rag.perception.base import TextRegion
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder, MemoryIndex, ScriptedReader, color_frame
from florence_rag.types import Chunk, Locator, Source
from florence_rag.workers import DEFAULT_LIMITS, Limits
from tests.chunking.office_samples import docx
from tests.chunking.samples import encode, pdf_page
from tests.ingest.samples import color_chunk, source

SOURCES = [Source(f"/{name}", "text", 1, 1, name) for name in "abcdef"]
IMAGE = color_chunk(source("a"), "red")
PDF, VIDEO = replace(source("b"), media="pdf"), replace(source("d"), media="video")
PAGE = color_chunk(PDF, "red", kind="page", text="typed")
SCAN = color_chunk(replace(PDF, uri="/c"), "red", kind="page", text=" \n")
CLIP = color_chunk(VIDEO, "red", "blue", "red", kind="clip")
TEXT = Chunk(source("e"), "text", text="words")


def chunks_of(source, count=3):
    for i in range(count):
        yield Chunk(source, "text", Locator(page=i), text="x")


def read(sources, chunker, **sizes):
    return prefetch(sources, partial(read_source, chunker=chunker, ocr=None, timer=StageTimer()), **sizes)


def by_source(events):
    found = {}
    for event in events:
        found.setdefault(event.source.uri, []).append(event)
    return found


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_all_chunks_of_a_source_are_read_in_order_and_every_source_ends(threads):
    found = by_source(read(SOURCES, chunks_of, threads=threads, depth=2))
    assert sorted(found) == [source.uri for source in SOURCES]
    for *chunks, last in found.values():
        assert [event.chunk.locator.page for event in chunks] == [0, 1, 2]
        assert (last.chunk, last.failure) == (None, None)


def test_a_broken_file_fails_with_a_reason_and_the_others_are_read():
    def broken(source):
        yield from chunks_of(source, 1)
        if source.uri == "/b":
            raise MediaError("'/b' is truncated")
        if source.uri == "/c":
            raise ZeroDivisionError("oh")

    found = by_source(read(SOURCES, broken, threads=2, depth=2))
    assert found["/b"][-1].failure.reason == "'/b' is truncated"
    assert found["/c"][-1].failure.reason == "could not be read: ZeroDivisionError: oh"
    assert [found[source.uri][-1].failure for source in SOURCES[3:]] == [None, None, None]


def test_no_more_chunks_than_the_depth_are_read_ahead():
    made = []

    def counted(source):
        for chunk in chunks_of(source, 100):
            made.append(chunk)
            yield chunk

    events = read(SOURCES[:1], counted, threads=1, depth=4)
    next(events)
    time.sleep(0.3)
    assert len(made) <= 6  # one taken, four waiting, one held by the thread
    events.close()


def test_closing_stops_the_threads():
    events = read(SOURCES, lambda source: chunks_of(source, 10_000), threads=3, depth=2)
    next(events)
    assert any(thread.name.startswith("florence-read") for thread in threading.enumerate())
    events.close()
    assert not any(thread.name.startswith("florence-read") for thread in threading.enumerate())


def test_nothing_to_read_ends_at_once():
    assert list(read([], chunks_of, threads=2, depth=2)) == []


def ocr_stage(mode, texts):
    return OCRStage(loaded(ScriptedReader(texts)), mode)


@pytest.mark.parametrize(("mode", "read"), [("auto", [IMAGE, SCAN]), ("always", [IMAGE, PAGE, SCAN, CLIP])])
def test_the_mode_decides_which_chunks_are_read(mode, read):
    stage = ocr_stage(mode, {"red": "STOP", "blue": "BUS"})
    for chunk in (IMAGE, PAGE, SCAN, CLIP, TEXT):
        assert bool(stage(chunk).ocr) == (chunk in read)


def test_a_line_on_several_keyframes_is_stored_once():
    assert ocr_stage("always", {"red": "STOP", "blue": "BUS"})(CLIP).ocr == "STOP\nBUS"


def test_nothing_but_the_ocr_text_changes():
    read = ocr_stage("always", {"red": "STOP"})(PAGE)
    assert (read.ocr, read.text, read.id, read.frames) == ("STOP", "typed", PAGE.id, PAGE.frames)


def test_there_is_no_stage_without_a_reader_or_with_the_mode_never():
    without, with_reader = Models.of(ColorEmbedder()), Models.of(ColorEmbedder(), ocr_reader=ScriptedReader({}))
    assert OCRStage.from_models(without, "always") is None
    assert OCRStage.from_models(with_reader, "never") is None
    assert OCRStage.from_models(with_reader, "auto") is not None


FIGURES = replace(PAGE, frames=(np.zeros((100, 200, 3), np.uint8),), ocr_boxes=((0, 0.5, 0.5, 1), (0.75, 0, 1, 0.105)))


class RecordingReader:
    def __init__(self, *lines):
        self.lines = lines
        self.shapes = []

    def read(self, frame):
        self.shapes.append(frame.shape[:2])
        return [TextRegion(line, (0, 0, 1, 1), 1.0) for line in self.lines]


@pytest.mark.parametrize(("mode", "shapes"), [("auto", [(50, 100), (11, 50)]), ("always", [(100, 200)])])
def test_the_parts_of_a_page_without_text_are_read_alone(mode, shapes):
    reader = RecordingReader("FLYWHEEL")
    assert OCRStage(loaded(reader), mode)(FIGURES).ocr == "FLYWHEEL"
    assert reader.shapes == shapes


def test_lines_that_the_text_of_a_page_has_are_not_stored_twice():
    reader = RecordingReader("Figure 1: a", "FIGURE 1", "flywheel", "wheel")
    page = replace(FIGURES, text="See figure 1. Flywheels turn.")
    assert OCRStage(loaded(reader), "auto")(page).ocr == "Figure 1: a\nflywheel\nwheel"


def test_the_stills_of_an_animation_are_read(tmp_path):
    first, *others = (Image.new("RGB", (2000, 90), color) for color in ("red", "blue"))
    first.save(tmp_path / "a.gif", save_all=True, append_images=others, duration=500)
    chunks = list(chunk_paths([tmp_path]))
    assert [read_shape(chunk) for chunk in chunks] == ["2000 x 90"] * 2


def read_shape(chunk):
    """Return the size in which OCR reads a chunk of a file."""
    load_detail = FileReader(chunk_or_skip, DEFAULT_LIMITS).read_detail
    return OCRStage(loaded(ShapeReader()), "auto")(chunk, load_detail).ocr


class ShapeReader:
    """Reads the size of an image, and a blank line."""

    def read(self, frame):
        return [TextRegion(text, (0.0, 0.0, 1.0, 1.0), 1.0) for text in (f"{frame.shape[1]} x {frame.shape[0]}", " ")]


def test_an_image_is_read_in_the_size_of_its_file(tmp_path):
    Image.new("RGB", (900, 5000)).save(tmp_path / "long.png")
    Image.new("RGB", (900, 600)).save(tmp_path / "small.png")
    long, small = chunk_paths([tmp_path])
    stage = OCRStage(loaded(ShapeReader()), "auto")
    assert long.frames[0].shape == (1280, 230, 3)
    assert (read_shape(long), read_shape(small)) == ("900 x 5000", "900 x 600")
    assert stage(long).frames is long.frames


def test_an_image_in_a_document_is_read_in_its_own_size(tmp_path):
    picture = encode(np.zeros((5000, 900, 3), np.uint8), "PNG")
    (tmp_path / "a.docx").write_bytes(docx("", {"word/media/long.png": picture}))
    (chunk,) = chunk_paths([tmp_path])
    assert chunk.frames[0].shape == (1280, 230, 3)
    assert read_shape(chunk) == "900 x 5000"


@pytest.mark.parametrize(("size", "read"), [("0 0 200 1600", "1000 x 8000"), ("0 0 200 500", "512 x 1280")])
def test_a_very_long_page_is_read_at_a_legible_size(tmp_path, size, read):
    (tmp_path / "a.pdf").write_bytes(pdf_page(b"", size=size))
    (chunk,) = chunk_paths([tmp_path])
    assert max(chunk.frames[0].shape) == 1280 and read_shape(chunk) == read


def test_an_item_is_read_in_the_size_of_its_file(tmp_path):
    path = tmp_path / "long.png"
    Image.new("RGB", (900, 5000)).save(path)
    models = Models.of(ColorEmbedder(), ocr_reader=ShapeReader())
    with FlorenceRAG(MemoryIndex(ColorEmbedder.info), models, images=tmp_path / "stored") as rag:
        rag.items.upsert_images([path, path.read_bytes(), color_frame("red")], ids=["file", "bytes", "pixels"])
        ocr = {hit.id: hit.ocr for hit in rag.get(["file", "bytes", "pixels"])}
    assert ocr == {"file": "900 x 5000", "bytes": "900 x 5000", "pixels": "48 x 48"}


@pytest.mark.parametrize(
    ("uri", "found", "now", "raised"),
    [
        ("/a.pdf", 60, 60, False),
        ("/a.pdf", 60, 120, True),
        ("https://example.com/a.pdf", 600, 60, False),
        ("https://example.com/a.pdf", 600, 120, True),
        ("tar:s3://bucket/a.tar#b.png", 600, 120, True),
    ],
)
def test_a_file_is_read_again_when_its_limit_is_higher(uri, found, now, raised):
    assert is_raised(uri, f"reading it takes longer than the limit of {found} s; raise it", Limits(now)) == raised


def test_closing_does_not_wait_for_a_model_that_a_reader_runs():
    release, started = threading.Event(), threading.Event()

    def read(each):
        yield ReadEvent(each)
        started.set()
        release.wait(20)

    events = prefetch([source("/a")], read, threads=1, depth=4)
    next(events)
    started.wait(10)
    begun = time.monotonic()
    events.close()
    assert time.monotonic() - begun < 10
    release.set()
