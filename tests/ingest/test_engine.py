import threading
import time

import pytest

from florence_rag.errors import InputError
from florence_rag.ingest.embed_stage import EmbeddedBatch, EmbedStage, embed_chunks
from florence_rag.ingest.engine import Batch, BatchPool, IngestConfig, ThreadEngine
from florence_rag.ingest.progress import StageTimer
from florence_rag.ingest.read_stage import ReadEvent
from florence_rag.testing import ColorEmbedder
from florence_rag.types import Failure
from tests.ingest.samples import color_chunk, source

A, B = source("a"), source("b")


def embed(chunks):
    return EmbeddedBatch(chunks, embed_chunks(ColorEmbedder(), chunks))


def test_a_failure_removes_the_chunks_of_its_source_from_the_batch():
    batch = Batch()
    for event in (
        ReadEvent(A, color_chunk(A, "red")),
        ReadEvent(B, color_chunk(B, "red", "blue", kind="clip")),
        ReadEvent(B),
        ReadEvent(A, failure=Failure("/a", "damaged")),
    ):
        batch.add(event)
    assert [chunk.source for chunk in batch.chunks] == batch.ended == [B]
    assert batch.failures == [Failure("/a", "damaged")] and batch.size == 2


def test_passes_on_one_processor_each_are_smaller():
    assert [IngestConfig(batch_size=32).batch_size_for(workers) for workers in (1, 2)] == [32, 8]
    assert IngestConfig(batch_size=2).batch_size_for(4) == 1


def test_results_come_in_order_of_submission():
    second_is_done = threading.Event()

    def work(number):
        if number == 1:
            assert second_is_done.wait(20)
        else:
            second_is_done.set()
        return number

    with BatchPool(2) as pool:
        pool.submit(work, 1)
        pool.submit(work, 2)
        assert list(pool.results()) == [1, 2]


def test_a_check_that_raises_ends_the_wait_for_a_batch():
    release = threading.Event()

    def check():
        release.set()
        raise KeyboardInterrupt

    with BatchPool(1) as pool:
        pool.submit(release.wait, 20)
        with pytest.raises(KeyboardInterrupt):
            list(pool.results(check=check))


def test_an_interruption_does_not_wait_for_a_forward_pass():
    release, started = threading.Event(), time.monotonic()
    with pytest.raises(KeyboardInterrupt), BatchPool(1) as pool:
        pool.submit(release.wait, 20)
        raise KeyboardInterrupt
    assert time.monotonic() - started < 10
    release.set()


def test_the_chunks_of_a_source_come_before_its_end_and_those_of_failed_sources_are_ignored():
    def chunker(of):
        yield color_chunk(of, "red")

    engine = ThreadEngine(EmbedStage(embed), chunker, config=IngestConfig(batch_size=1, threads=1))
    results = list(engine.run([A, B], StageTimer(), {"/b"}, lambda: None))
    assert [chunk.source for result in results for part in result.parts for chunk in part.chunks] == [A]
    assert [ended for result in results for ended in result.ended] == [A]


def test_a_batch_that_cannot_be_embedded_is_tried_source_by_source():
    def refuse(chunks):
        if any(chunk.source == B for chunk in chunks):
            raise InputError("no blue")
        return embed(chunks)

    batch = Batch([color_chunk(A, "red"), color_chunk(B, "blue")], ended=[A, B])
    result = batch.embed(EmbedStage(refuse), StageTimer(), B)
    assert [chunk.source for part in result.parts for chunk in part.chunks] == [A]
    assert (result.source, result.failures) == (B, [Failure("/b", "no blue")])
