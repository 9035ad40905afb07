import numpy as np
import pytest

from florence_rag.errors import MediaError
from florence_rag.pipeline.ingest import Ingest, IngestConfig, WordReading, embed_chunks
from florence_rag.testing import ColourEmbedder, MemoryIndex, ScriptedReader, colour_frame
from florence_rag.types import Chunk, Failure, Locator, Source

EMBEDDER = ColourEmbedder()


def source(name):
    return Source(f"/{name}", "image", 1, 1, name)


def picture(of, *colours, kind="image", **words):
    return Chunk(of, kind, frames=tuple(colour_frame(colour) for colour in colours), **words)


class CountingEmbedder(ColourEmbedder):
    def __init__(self):
        self.batches = []

    def embed_images(self, frames):
        self.batches.append(len(frames))
        return super().embed_images(frames)


def ingest(chunks_of, names, index=None, **config):
    run = Ingest(index or MemoryIndex(EMBEDDER.info), CountingEmbedder(), chunks_of, config=IngestConfig(**config))
    run.run([source(name) for name in names])
    return run


def test_pictures_of_many_files_are_embedded_together():
    run = ingest(lambda of: iter([picture(of, "red")]), [f"{i:02}" for i in range(20)], batch=8)
    assert run.embedder.batches == [8, 8, 4]
    assert len(run.done) == len(run.index.sources()) == 20


def test_a_clip_is_the_mean_direction_of_its_keyframes():
    clip, image, passage = (
        picture(source("a"), "red", "blue", kind="clip"),
        picture(source("b"), "green"),
        Chunk(source("c"), "text", text="black and white"),
    )
    vectors = embed_chunks(EMBEDDER, [clip, image, passage])
    expected = EMBEDDER.embed_texts(["red blue", "green", "black white"])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_a_page_is_what_it_looks_like_not_what_it_says():
    page = picture(source("a"), "red", kind="page", text="blue")
    np.testing.assert_allclose(embed_chunks(EMBEDDER, [page]), EMBEDDER.embed_texts(["red"]))


def test_a_file_is_complete_only_when_all_its_chunks_are_stored():
    class Watched(MemoryIndex):
        def complete(self, source):
            assert len(self._rows) == 3
            super().complete(source)

    def chunks_of(of):
        return iter([picture(of, "red", kind="page"), *(Chunk(of, "text", Locator(page=i), text="x") for i in (1, 2))])

    assert len(ingest(chunks_of, "a", Watched(EMBEDDER.info), batch=1).done) == 1


def test_a_file_that_breaks_half_way_leaves_no_rows():
    def chunks_of(of):
        yield picture(of, "red")
        if of.uri == "/b":
            yield Chunk(of, "text", text="x")
            raise MediaError("'/b' ends too early")

    for batch in (1, 100):
        run = ingest(chunks_of, "abc", batch=batch)
        assert run.failures == [Failure("/b", "'/b' ends too early")]
        assert run.index.failures() == (Failure("/b", "'/b' ends too early"),)
        assert list(run.index.sources()) == ["/a", "/c"]
        assert run.index.info().chunks["image"] == 2 and run.index.info().chunks["text"] == 0


def test_a_file_without_anything_is_a_failure():
    run = ingest(lambda of: iter(()), "a")
    assert run.failures == [Failure("/a", "there is nothing in it to index: no picture and no text")]


def test_progress_is_told_after_every_step():
    steps = []
    run = Ingest(MemoryIndex(EMBEDDER.info), EMBEDDER, lambda of: iter([picture(of, "red")]), progress=steps.append)
    run.run([source(name) for name in "abc"])
    assert {step.files_total for step in steps} == {3}
    assert (steps[-1].files_done, steps[-1].chunks, steps[-1].failures) == (3, 3, 0)
    assert {step.source for step in steps} == {"/a", "/b", "/c"}


def test_an_interrupt_stops_the_run_and_what_is_complete_stays():
    def interrupted(step):
        if step.files_done >= 4:
            raise KeyboardInterrupt

    run = Ingest(
        MemoryIndex(EMBEDDER.info),
        EMBEDDER,
        lambda of: iter([picture(of, "red")]),
        progress=interrupted,
        config=IngestConfig(batch=4),
    )
    with pytest.raises(KeyboardInterrupt):
        run.run([source(f"{i:02}") for i in range(20)])
    assert 4 <= len(run.index.sources()) < 20


IMAGE = picture(source("a"), "red")
PAGE = picture(source("b"), "red", kind="page", text="typed")
SCAN = picture(source("c"), "red", kind="page", text=" \n")
CLIP = picture(source("d"), "red", "blue", "red", kind="clip")
TEXT = Chunk(source("e"), "text", text="words")


@pytest.mark.parametrize(("when", "read"), [("auto", [IMAGE, SCAN]), ("always", [IMAGE, PAGE, SCAN, CLIP])])
def test_words_are_read_where_they_are_due(when, read):
    reading = WordReading(ScriptedReader({"red": "STOP", "blue": "BUS"}), when)
    for chunk in (IMAGE, PAGE, SCAN, CLIP, TEXT):
        assert bool(reading(chunk).ocr) == (chunk in read)


def test_a_line_on_several_keyframes_is_kept_once():
    assert WordReading(ScriptedReader({"red": "STOP", "blue": "BUS"}), "always")(CLIP).ocr == "STOP\nBUS"


def test_reading_changes_nothing_but_the_words_read():
    read = WordReading(ScriptedReader({"red": "STOP"}), "always")(PAGE)
    assert (read.ocr, read.text, read.id, read.frames) == ("STOP", "typed", PAGE.id, PAGE.frames)
