"""One index run stores each source or reports why it fails."""

import threading

import pytest

from florence_rag.context import Models
from florence_rag.embedding.base import EmbedderCapabilities
from florence_rag.errors import InputError, MediaError, ModelError, StoreError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.ingest.embed_stage import EmbedStage
from florence_rag.ingest.engine import IngestConfig, ThreadEngine
from florence_rag.ingest.index_diff import IndexDiff
from florence_rag.ingest.run import MAX_SKIPPED_PARTS, IngestRun
from florence_rag.skip_counts import WORDS_PENDING
from florence_rag.testing import ColorEmbedder, MemoryIndex, ScriptedCaptioner, color_frame
from florence_rag.types import Chunk, Failure, Locator, Skipped
from tests.ingest.samples import CountingEmbedder, color_chunk, source

EMBEDDER = ColorEmbedder()
CAPTIONS = {"red": "a red thing", "blue": "a blue thing", "green": "a green thing"}
COLOR_OF = {"/a": "red", "/b": "blue", "/c": "green", "/d": "red", "/e": "green"}
TWENTY = [f"{i:02}" for i in range(20)]


def red(of):
    yield color_chunk(of, "red")


def colored(of):
    yield color_chunk(of, COLOR_OF[of.uri])


def ingest(chunker, names, index=None, progress=None, config=None, **models):
    """One run over sources of these names."""
    stage = EmbedStage.from_models(Models.of(**{"embedder": EMBEDDER} | models))
    run = IngestRun(index or MemoryIndex(EMBEDDER.info), len(names), progress=progress)
    run.ingest([source(name) for name in names], ThreadEngine(stage, chunker, config=config))
    return run


def test_images_of_many_files_are_embedded_together():
    embedder = CountingEmbedder()
    run = ingest(red, TWENTY, config=IngestConfig(batch_size=8), embedder=embedder)
    assert embedder.batches == [8, 8, 4]
    assert len(run.done) == len(run.index.sources()) == 20


def test_a_file_is_complete_only_when_all_its_chunks_are_stored():
    class Watched(MemoryIndex):
        stored = 0

        def add(self, chunks, *vectors):
            super().add(chunks, *vectors)
            self.stored += len(chunks)

        def complete(self, source, skipped=()):
            assert self.stored == 3
            super().complete(source, skipped)

    def chunker(of):
        yield color_chunk(of, "red", kind="page")
        yield from (Chunk(of, "text", Locator(page=i), text="x") for i in (1, 2))

    assert len(ingest(chunker, "a", Watched(EMBEDDER.info), config=IngestConfig(batch_size=1)).done) == 1


def test_a_file_that_breaks_half_way_leaves_no_rows():
    def chunker(of):
        yield color_chunk(of, "red")
        if of.uri == "/b":
            yield Chunk(of, "text", text="x")
            raise MediaError("'/b' ends too early")

    for batch_size in (1, 100):
        run = ingest(chunker, "abc", config=IngestConfig(batch_size=batch_size))
        assert run.failures == [Failure("/b", "'/b' ends too early")]
        assert run.index.failures() == (Failure("/b", "'/b' ends too early"),)
        assert list(run.index.sources()) == ["/a", "/c"]
        assert run.index.info().chunks["image"] == 2 and run.index.info().chunks["text"] == 0


def test_a_file_without_anything_is_a_failure():
    run = ingest(lambda of: iter(()), "a")
    assert run.failures == [Failure("/a", "there is nothing in it to index: no image and no text")]


def test_parts_that_are_not_read_are_in_the_report_unless_their_source_fails():
    def chunker(of):
        yield Skipped(of.uri, "damaged page", Locator(page=1))
        yield color_chunk(of, "red")
        if of.uri == "/b":
            raise MediaError("damaged")

    for batch_size in (1, 100):
        run = ingest(chunker, "ab", config=IngestConfig(batch_size=batch_size))
        report = run.report(IndexDiff(), ())
        assert report.skipped == (Skipped("/a", "damaged page", Locator(page=1)),)
        assert report.skipped_counts == {"damaged page": 1}


def test_very_many_parts_of_one_file_are_reported_up_to_a_limit():
    def chunker(of):
        yield color_chunk(of, "red")
        yield from (Skipped(of.uri, "damaged page", Locator(page=page)) for page in range(1, 1000))

    run = ingest(chunker, "a")
    assert run.report(IndexDiff(), ()).skipped_counts == {"damaged page": MAX_SKIPPED_PARTS}
    assert len(run.index.skipped_parts()["/a"]) == MAX_SKIPPED_PARTS


def test_pending_words_displace_no_record_of_a_source_with_very_many():
    def chunker(of):
        yield color_chunk(of, "red")
        yield from (Skipped(of.uri, "damaged page", Locator(page=page)) for page in range(1, 1000))
        yield Skipped(of.uri, "rest of a file", max_chunks=1)

    run = IngestRun(MemoryIndex(EMBEDDER.info), 1, words_follow=lambda chunk: WORDS_PENDING)
    run.ingest([source("a")], ThreadEngine(EmbedStage.from_models(Models.of(EMBEDDER)), chunker))
    parts = run.index.skipped_parts()["/a"]
    assert {part.reason for part in parts[:2]} == WORDS_PENDING
    assert parts[-1].max_chunks == 1 and run.skipped["/a"] == list(parts)


def test_failures_of_the_file_itself_are_skipped_in_later_runs_and_others_are_not():
    def chunker(of):
        raise MediaError("damaged") if of.uri == "/a" else OSError("no network")
        yield

    run = ingest(chunker, "ab")
    assert {failure.source for failure in run.failures} == {"/a", "/b"}
    assert [each.source.uri for each in run.rejected] == list(run.index.rejected()) == ["/a"]


def test_progress_is_reported_after_every_step():
    steps = []
    ingest(red, "abc", progress=steps.append)
    assert {step.files_total for step in steps} == {3}
    assert (steps[-1].files_done, steps[-1].chunks, steps[-1].failures) == (3, 3, 0)
    assert {step.source for step in steps} == {"/a", "/b", "/c"}


def test_several_calls_are_one_run():
    steps = []
    run = IngestRun(MemoryIndex(EMBEDDER.info), 10, files_done=5, progress=steps.append)
    for names in ("ab", "", "cde"):
        run.ingest([source(name) for name in names], ThreadEngine(EmbedStage.from_models(Models.of(EMBEDDER)), red))
    assert (steps[-1].files_done, steps[-1].files_total, steps[-1].chunks) == (10, 10, 5)
    assert sorted(each.uri for each in run.done) == list(run.index.sources()) == ["/a", "/b", "/c", "/d", "/e"]


def test_the_rows_of_a_small_run_are_written_before_it_returns():
    class Buffered(MemoryIndex):
        written = 0

        def flush_buffer(self):
            super().flush_buffer()
            self.written = len(self.sources())

    assert ingest(red, "ab", Buffered(EMBEDDER.info)).index.written == 2


def test_an_interrupt_stops_the_run_and_what_is_complete_stays():
    def interrupted(step):
        if step.files_done >= 4:
            raise KeyboardInterrupt

    index = MemoryIndex(EMBEDDER.info)
    with pytest.raises(KeyboardInterrupt):
        ingest(red, TWENTY, index, interrupted, IngestConfig(batch_size=4))
    assert 4 <= len(index.sources()) < 20


def test_no_search_finds_a_part_of_a_file_after_a_run_that_was_interrupted_within_it(db):
    """Some of its rows are stored and some buffered; what is known of other files stays."""

    def chunker(of):
        yield color_chunk(of, "red")
        if of.uri == "/b":
            raise MediaError("damaged")
        if of.uri == "/c":
            yield from (color_chunk(of, "red", locator=Locator(page=page)) for page in range(1, 10))

    def interrupted(step):
        if step.chunks == 6:
            index.flush_buffer()
        if step.chunks == 9:
            raise KeyboardInterrupt

    with MilvusIndex.open(db, EMBEDDER.info) as index:
        with pytest.raises(KeyboardInterrupt):
            ingest(chunker, "abc", index, interrupted, IngestConfig(batch_size=1, threads=1))
        assert {hit.source for hit in index.find()} == set(index.sources()) == {"/a"}
        assert [each.source for each in index.failures()] == ["/b"]
        assert len(ingest(chunker, "c", index).done) == 1 and len(list(index.find())) == 11


def test_images_of_many_files_are_captioned_together_and_found_by_their_captions():
    captioner = ScriptedCaptioner(CAPTIONS)
    run = ingest(red, TWENTY, config=IngestConfig(batch_size=8), captioner=captioner)
    assert captioner.batches == [8, 8, 4]
    hits = run.index.search_bm25("a red thing", 30)
    assert len(hits) == 20 and {hit.caption for hit in hits} == {"a red thing"}


def test_captions_are_found_by_their_meaning_if_the_index_stores_text_vectors():
    index, captioner = MemoryIndex(EMBEDDER.info, EMBEDDER.info), ScriptedCaptioner({"red": "a blue thing"})
    ingest(colored, "abc", index, captioner=captioner, text_embedder=EMBEDDER)
    (hit,) = index.search_text_vector(EMBEDDER.embed_texts(["blue"])[0], 5)
    assert (hit.source, hit.caption) == ("/a", "a blue thing")


class BreaksOnBlue(ScriptedCaptioner):
    """Breaks on blue images, and with them on their batch."""

    def __init__(self, error):
        super().__init__(CAPTIONS)
        self.error = error

    def caption(self, frames):
        captions = super().caption(frames)
        if "a blue thing" in captions:
            raise self.error
        return captions


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("out\nof memory"), "could not be described: RuntimeError: out of memory"),
        (ModelError("no such model"), "no such model"),
    ],
)
def test_a_file_that_cannot_be_captioned_fails_alone_and_with_the_reason(error, reason):
    run = ingest(colored, "abcde", config=IngestConfig(batch_size=4), captioner=BreaksOnBlue(error))
    assert run.failures == list(run.index.failures()) == [Failure("/b", reason)]
    assert list(run.index.sources()) == ["/a", "/c", "/d", "/e"]
    assert {hit.caption for hit in run.index.search_bm25("thing", 9)} == {"a red thing", "a green thing"}


def test_a_captioner_that_returns_too_few_captions_is_at_fault():
    class Forgetful(ScriptedCaptioner):
        def caption(self, frames):
            return super().caption(frames)[:-1]

    run = ingest(red, "ab", captioner=Forgetful(CAPTIONS))
    assert {failure.source for failure in run.failures} == {"/a", "/b"} and not run.done


class Strict(MemoryIndex):
    """Refuses blue images, as Milvus refuses vectors of zeros."""

    def __init__(self, error):
        super().__init__(EMBEDDER.info)
        self.error = error

    def add(self, chunks, vectors, text_vectors=None):
        if any((chunk.frames[0] == color_frame("blue")[0, 0]).all() for chunk in chunks if chunk.frames):
            raise self.error
        super().add(chunks, vectors, text_vectors)


def test_a_file_that_the_index_refuses_fails_alone():
    def chunker(of):
        yield from colored(of)
        yield Chunk(of, "text", text="x")

    index, captioner = Strict(InputError("vectors must be finite")), ScriptedCaptioner(CAPTIONS)
    run = ingest(chunker, "abcde", index, config=IngestConfig(batch_size=100), captioner=captioner)
    assert run.failures == [Failure("/b", "vectors must be finite")]
    assert list(index.sources()) == ["/a", "/c", "/d", "/e"]
    assert index.info().chunks["image"] == index.info().chunks["text"] == 4
    assert captioner.batches == [5]


def test_further_chunks_of_a_file_that_was_refused_are_not_stored():
    def chunker(of):
        yield from colored(of)
        yield from (Chunk(of, "text", Locator(page=i), text="x") for i in range(5))

    for threads in (1, 3):
        config = IngestConfig(batch_size=1, threads=threads)
        run = ingest(chunker, "abc", Strict(InputError("no")), config=config)
        assert run.failures == [Failure("/b", "no")]
        assert [source.uri for source in sorted(run.done, key=lambda each: each.uri)] == ["/a", "/c"]
        assert run.index.info().chunks["text"] == 10


@pytest.mark.parametrize("error", [StoreError("disk full"), ModelError("the service is gone")])
def test_a_store_or_a_model_that_fails_ends_the_run(error):
    with pytest.raises(type(error), match=str(error)):
        ingest(colored, "abc", Strict(error))


def test_several_workers_embed_at_the_same_time_and_store_in_order():
    class Waiting(CountingEmbedder):
        """The first batch is ready when the second has begun."""

        capabilities = EmbedderCapabilities(workers=2)
        meeting = threading.Barrier(2, timeout=20)

        def embed_images(self, frames):
            self.meeting.wait()
            return super().embed_images(frames)

    run = ingest(red, "abcd", config=IngestConfig(batch_size=2, threads=1), embedder=Waiting())
    assert [each.uri for each in run.done] == ["/a", "/b", "/c", "/d"]


def test_the_time_of_every_stage_is_known():
    run = ingest(red, "ab", captioner=ScriptedCaptioner(CAPTIONS))
    assert run.timer.seconds().keys() == {"read", "caption", "embed", "store"}
    assert all(seconds >= 0 for seconds in run.timer.seconds().values())
