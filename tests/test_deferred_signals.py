import signal
import threading
from functools import partial

import pytest

from florence_rag.context import Models
from florence_rag.deferred_signals import DeferredSignals
from florence_rag.ingest.embed_stage import EmbedStage, embed_batch
from florence_rag.ingest.engine import IngestConfig, ThreadEngine
from florence_rag.ingest.run import IngestRun
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from florence_rag.types import Chunk, Source

EMBEDDER = ColorEmbedder()


def send(number):
    """As Python does when the signal arrives. Real ones go to processes of their own, in tests/cli: where OpenVINO
    and ONNX Runtime had been loaded before, one ended the process with a segmentation fault."""
    signal.getsignal(number)(number, None)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_a_check(sent):
    received = []
    before = signal.signal(sent, lambda number, frame: received.append(number))
    try:
        with DeferredSignals() as signals:
            signals.check()
            send(sent)
            assert received == []
            signals.check()
            assert received == [sent]
            signals.check()
            assert received == [sent]
        send(sent)
        assert received == [sent, sent]
    finally:
        signal.signal(sent, before)


def test_a_second_signal_acts_at_once():
    with pytest.raises(KeyboardInterrupt), DeferredSignals():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_signal_without_a_check_acts_at_the_end():
    with pytest.raises(KeyboardInterrupt), DeferredSignals():
        send(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_python_leaves_to_the_system_stays_there():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with DeferredSignals():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_have_no_signals_to_defer():
    handlers = []

    def work():
        with DeferredSignals() as signals:
            signals.check()
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]


class Interrupted(MemoryIndex):
    """Ctrl-C comes while it stores its first chunks."""

    def add(self, chunks, vectors, words=None):
        if not self.sources():
            send(signal.SIGINT)
        super().add(chunks, vectors, words)


def test_an_index_run_ends_when_what_was_being_stored_is_stored():
    index = Interrupted(EMBEDDER.info)
    sources = [Source(f"/{i}", "image", 1, 1, str(i)) for i in range(40)]
    engine = ThreadEngine(
        EmbedStage(partial(embed_batch, Models.of(EMBEDDER))),
        lambda of: iter([Chunk(of, "image", frames=(color_frame("red"),))]),
        config=IngestConfig(batch_size=4, prefetch=4),
    )
    run = IngestRun(index, len(sources))
    with pytest.raises(KeyboardInterrupt):
        run.ingest(sources, engine)
    assert 3 <= len(index.sources()) < 40
    assert index.info().incomplete == ()


def test_an_index_run_ends_while_it_waits_for_a_file():
    """The reading thread is let go only after the run has heard of the interrupt."""
    let_go = threading.Event()

    def slow(of):
        send(signal.SIGINT)
        assert let_go.wait(60)
        yield Chunk(of, "image", frames=(color_frame("red"),))

    class Watched(ThreadEngine):
        def run(self, sources, timer, failed, check):
            def checked():
                try:
                    check()
                except KeyboardInterrupt:
                    let_go.set()
                    raise

            return super().run(sources, timer, failed, checked)

    run = IngestRun(MemoryIndex(EMBEDDER.info), 1)
    with pytest.raises(KeyboardInterrupt):
        run.ingest(
            [Source("/a", "image", 1, 1, "a")], Watched(EmbedStage(partial(embed_batch, Models.of(EMBEDDER))), slow)
        )
    assert run.done == []
