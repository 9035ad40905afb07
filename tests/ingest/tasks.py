"""Chunkers that the tests run in workers, which import them by name."""

import os
import signal
import sys
import time

from florence_rag.testing import color_frame
from florence_rag.types import Chunk, Locator


def pages(source, numbers):
    for number in numbers:
        yield Chunk(source, "page", Locator(page=number), frames=(color_frame("red"),))


def crash_or_read(source):
    """Crash at the second page of a source whose name says so."""
    yield from pages(source, [1])
    if "crash" in source.uri:
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(60)
    yield from pages(source, [2])


def need_memory(source, size):
    """Need memory at the third page, and log how often each page is read."""
    yield from pages(source, [1, 2])
    bytearray(size if "large" in source.uri else 1)
    yield from pages(source, [3])


def modules(source):
    yield Chunk(source, "text", text=" ".join({name.split(".")[0] for name in sys.modules}))
