import threading
import time

import pytest

from florence_rag.errors import MediaError
from florence_rag.ingest.prefetch import prefetch
from florence_rag.types import Chunk, Locator, Source

SOURCES = [Source(f"/{name}", "text", 1, 1, name) for name in "abcdef"]


def chunks_of(source, count=3):
    for i in range(count):
        yield Chunk(source, "text", Locator(page=i), text="x")


def reads_by_source(reads):
    found = {}
    for read in reads:
        found.setdefault(read.source.uri, []).append(read)
    return found


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_all_chunks_come_in_order_and_every_source_ends(threads):
    found = reads_by_source(prefetch(SOURCES, chunks_of, threads=threads, depth=2))
    assert sorted(found) == [source.uri for source in SOURCES]
    for *chunks, last in found.values():
        assert [read.chunk.locator.page for read in chunks] == [0, 1, 2]
        assert (last.chunk, last.failure) == (None, None)


def test_a_broken_file_is_a_reason_and_the_others_go_on():
    def broken(source):
        yield from chunks_of(source, 1)
        if source.uri == "/b":
            raise MediaError("'/b' is truncated")
        if source.uri == "/c":
            raise ZeroDivisionError("oh")

    found = reads_by_source(prefetch(SOURCES, broken, threads=2, depth=2))
    assert found["/b"][-1].failure.reason == "'/b' is truncated"
    assert found["/c"][-1].failure.reason == "could not be read: ZeroDivisionError: oh"
    assert [found[source.uri][-1].failure for source in SOURCES[3:]] == [None, None, None]


def test_no_more_than_the_depth_is_prefetch():
    made = []

    def counted(source):
        for chunk in chunks_of(source, 100):
            made.append(chunk)
            yield chunk

    reads = prefetch(SOURCES[:1], counted, threads=1, depth=4)
    next(reads)
    time.sleep(0.3)
    assert len(made) <= 6  # one taken, four waiting, one in the hand of the thread
    reads.close()


def test_closing_stops_the_threads():
    reads = prefetch(SOURCES, lambda source: chunks_of(source, 10_000), threads=3, depth=2)
    next(reads)
    assert any(thread.name.startswith("florence-read") for thread in threading.enumerate())
    reads.close()
    assert not any(thread.name.startswith("florence-read") for thread in threading.enumerate())


def test_nothing_to_read_ends_at_once():
    assert list(prefetch([], chunks_of, threads=2, depth=2)) == []
