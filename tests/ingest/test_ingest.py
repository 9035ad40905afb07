import threading

import numpy as np
import pytest

from florence_rag.embedding.base import EmbedderCapabilities
from florence_rag.errors import InputError, MediaError, ModelError, StoreError
from florence_rag.ingest.embed_stage import EmbedStage, add_captions, embed_chunks, embed_words
from florence_rag.ingest.engine import IngestConfig, ThreadEngine
from florence_rag.ingest.ingest import Ingest
from florence_rag.ingest.ocr_stage import OCRStage
from florence_rag.testing import ColorEmbedder, MemoryIndex, ScriptedCaptioner, ScriptedReader, color_frame
from florence_rag.types import Chunk, Failure, Locator, Source

EMBEDDER = ColorEmbedder()


def source(name):
    return Source(f"/{name}", "image", 1, 1, name)


def picture(of, *colors, kind="image", **words):
    return Chunk(of, kind, frames=tuple(color_frame(color) for color in colors), **words)


class CountingEmbedder(ColorEmbedder):
    def __init__(self):
        self.batches = []

    def embed_images(self, frames):
        self.batches.append(len(frames))
        return super().embed_images(frames)


def ingest(chunks_of, names, index=None, captioner=None, **config):
    index = index or MemoryIndex(EMBEDDER.info)
    engine = ThreadEngine(EmbedStage(CountingEmbedder(), captioner), chunks_of, config=IngestConfig(**config))
    run = Ingest(index, engine)
    run.run([source(name) for name in names])
    return run


def test_pictures_of_many_files_are_embedded_together():
    run = ingest(lambda of: iter([picture(of, "red")]), [f"{i:02}" for i in range(20)], batch=8)
    assert run.engine.embedding.embedder.batches == [8, 8, 4]
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
    engine = ThreadEngine(EmbedStage(EMBEDDER), lambda of: iter([picture(of, "red")]))
    run = Ingest(MemoryIndex(EMBEDDER.info), engine, progress=steps.append)
    run.run([source(name) for name in "abc"])
    assert {step.files_total for step in steps} == {3}
    assert (steps[-1].files_done, steps[-1].chunks, steps[-1].failures) == (3, 3, 0)
    assert {step.source for step in steps} == {"/a", "/b", "/c"}


def test_an_interrupt_stops_the_run_and_what_is_complete_stays():
    def interrupted(step):
        if step.files_done >= 4:
            raise KeyboardInterrupt

    engine = ThreadEngine(EmbedStage(EMBEDDER), lambda of: iter([picture(of, "red")]), config=IngestConfig(batch=4))
    run = Ingest(MemoryIndex(EMBEDDER.info), engine, progress=interrupted)
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
    reading = OCRStage(ScriptedReader({"red": "STOP", "blue": "BUS"}), when)
    for chunk in (IMAGE, PAGE, SCAN, CLIP, TEXT):
        assert bool(reading(chunk).ocr) == (chunk in read)


def test_a_line_on_several_keyframes_is_kept_once():
    assert OCRStage(ScriptedReader({"red": "STOP", "blue": "BUS"}), "always")(CLIP).ocr == "STOP\nBUS"


def test_reading_changes_nothing_but_the_words_read():
    read = OCRStage(ScriptedReader({"red": "STOP"}), "always")(PAGE)
    assert (read.ocr, read.text, read.id, read.frames) == ("STOP", "typed", PAGE.id, PAGE.frames)


SEEN = {"red": "a red thing", "blue": "a blue thing", "green": "a green thing"}


def test_pictures_of_many_files_are_captioned_together_and_found_by_their_captions():
    captioner = ScriptedCaptioner(SEEN)
    run = ingest(lambda of: iter([picture(of, "red")]), [f"{i:02}" for i in range(20)], captioner=captioner, batch=8)
    assert captioner.batches == [8, 8, 4]
    hits = run.index.search_bm25("a red thing", 30)
    assert len(hits) == 20 and {hit.caption for hit in hits} == {"a red thing"}


def test_the_words_of_a_chunk_have_a_vector_besides():
    chunks = [
        picture(source("a"), "red", caption="a blue thing", ocr="GREEN"),
        picture(source("b"), "red", text=" \n"),
        Chunk(source("c"), "text", text="black"),
    ]
    vectors = embed_words(EMBEDDER, chunks)
    np.testing.assert_allclose(vectors[[0, 2]], EMBEDDER.embed_texts(["blue green", "black"]), atol=1e-6)
    assert not vectors[1].any()
    assert embed_words(EMBEDDER, chunks[1:2]).shape == (1, EMBEDDER.info.dimension)


def test_captions_are_found_by_their_meaning_where_the_index_keeps_it():
    embedding = EmbedStage(EMBEDDER, ScriptedCaptioner({"red": "a blue thing"}), EMBEDDER)
    engine = ThreadEngine(embedding, lambda of: iter([picture(of, COLOR_OF[of.uri])]))
    run = Ingest(MemoryIndex(EMBEDDER.info, EMBEDDER.info), engine)
    run.run([source(name) for name in "abc"])
    (hit,) = run.index.search_text_vector(EMBEDDER.embed_texts(["blue"])[0], 5)
    assert (hit.source, hit.caption) == ("/a", "a blue thing")


def test_captions_are_made_where_there_is_a_picture_without_one():
    captioner = ScriptedCaptioner(SEEN)
    clip = picture(source("a"), "red", "blue", "green", kind="clip", text="spoken")
    told = picture(source("b"), "red", caption="an apple")
    passage = Chunk(source("c"), "text", text="words")
    told_clip, *others = add_captions(captioner, [clip, told, passage])
    assert (told_clip.caption, told_clip.text, told_clip.id) == ("a blue thing", "spoken", clip.id)
    assert others == [told, passage]
    assert captioner.batches == [1]
    assert add_captions(captioner, [passage]) == [passage] and captioner.batches == [1]


class Choosy(ScriptedCaptioner):
    """Breaks on blue pictures, and with them their batch."""

    def __init__(self, error):
        super().__init__(SEEN)
        self.error = error

    def caption(self, frames):
        captions = super().caption(frames)
        if "a blue thing" in captions:
            raise self.error
        return captions


COLOR_OF = {"/a": "red", "/b": "blue", "/c": "green", "/d": "red", "/e": "green"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("out\nof memory"), "could not be looked at: RuntimeError: out of memory"),
        (ModelError("no such model"), "no such model"),
    ],
)
def test_what_cannot_be_captioned_fails_alone_and_with_the_reason(error, reason):
    run = ingest(lambda of: iter([picture(of, COLOR_OF[of.uri])]), "abcde", captioner=Choosy(error), batch=4)
    assert run.failures == list(run.index.failures()) == [Failure("/b", reason)]
    assert list(run.index.sources()) == ["/a", "/c", "/d", "/e"]
    assert {hit.caption for hit in run.index.search_bm25("thing", 9)} == {"a red thing", "a green thing"}


def test_a_captioner_that_forgets_a_picture_is_at_fault():
    class Forgetful(ScriptedCaptioner):
        def caption(self, frames):
            return super().caption(frames)[:-1]

    run = ingest(lambda of: iter([picture(of, "red")]), "ab", captioner=Forgetful(SEEN))
    assert {failure.source for failure in run.failures} == {"/a", "/b"} and not run.done


class Strict(MemoryIndex):
    """Refuses blue pictures, as Milvus refuses vectors of zeros."""

    def __init__(self, error):
        super().__init__(EMBEDDER.info)
        self.error = error

    def add(self, chunks, vectors, text_vectors=None):
        if any((chunk.frames[0] == color_frame("blue")[0, 0]).all() for chunk in chunks if chunk.frames):
            raise self.error
        super().add(chunks, vectors, text_vectors)


def test_what_the_index_refuses_fails_alone():
    index = Strict(InputError("vectors must be finite"))
    captioner = ScriptedCaptioner(SEEN)
    chunks_of = lambda of: iter([picture(of, COLOR_OF[of.uri]), Chunk(of, "text", text="x")])  # noqa: E731
    run = ingest(chunks_of, "abcde", index, captioner, batch=100)
    assert run.failures == [Failure("/b", "vectors must be finite")]
    assert list(index.sources()) == ["/a", "/c", "/d", "/e"]
    assert index.info().chunks["image"] == index.info().chunks["text"] == 4
    assert captioner.batches == [5]


def test_the_rest_of_a_file_that_was_refused_is_left_out():
    def chunks_of(of):
        yield picture(of, COLOR_OF[of.uri])
        yield from (Chunk(of, "text", Locator(page=i), text="x") for i in range(5))

    for threads in (1, 3):
        run = ingest(chunks_of, "abc", Strict(InputError("no")), batch=1, threads=threads)
        assert run.failures == [Failure("/b", "no")]
        assert [source.uri for source in sorted(run.done, key=lambda each: each.uri)] == ["/a", "/c"]
        assert run.index.info().chunks["text"] == 10


@pytest.mark.parametrize("error", [StoreError("disk full"), ModelError("the service is gone")])
def test_a_store_or_a_model_that_fails_ends_the_run(error):
    with pytest.raises(type(error), match=str(error)):
        ingest(lambda of: iter([picture(of, COLOR_OF[of.uri])]), "abc", Strict(error))


def test_several_workers_embed_at_a_time_and_store_in_order():
    class Waiting(CountingEmbedder):
        """The first batch is ready when the second has begun."""

        capabilities = EmbedderCapabilities(workers=2)
        meeting = threading.Barrier(2, timeout=20)

        def embed_images(self, frames):
            self.meeting.wait()
            return super().embed_images(frames)

    config = IngestConfig(batch=2, threads=1)
    engine = ThreadEngine(EmbedStage(Waiting()), lambda of: iter([picture(of, "red")]), config=config)
    run = Ingest(MemoryIndex(EMBEDDER.info), engine)
    run.run([source(name) for name in "abcd"])
    assert [each.uri for each in run.done] == ["/a", "/b", "/c", "/d"]


def test_the_time_of_every_stage_is_known():
    run = ingest(lambda of: iter([picture(of, "red")]), "ab", captioner=ScriptedCaptioner(SEEN))
    assert run.watch.seconds().keys() == {"read", "caption", "embed", "store"}
    assert all(seconds >= 0 for seconds in run.watch.seconds().values())
