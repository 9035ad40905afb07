"""Functions that the tests run in workers, which import them by name."""

import logging
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from florence_rag.errors import MissingExtraError
from florence_rag.workers import require_memory


def state(*names):
    yield from (
        {"pid": os.getpid(), "folder": os.getcwd(), "modules": set(sys.modules), **os.environ}[n] for n in names
    )


def squares(count, pause_s=0.0):
    for number in range(count):
        time.sleep(pause_s)
        yield number * number


def arrays(count, side):
    for number in range(count):
        yield np.full((side, side), number, np.uint8)


def share_processor(seconds, others):
    """Compute for some seconds on one processor, on which other processes compute, too; yield the seconds."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    busy = [subprocess.Popen([sys.executable, "-Sc", "while True: pass"]) for _ in range(others)]
    began = time.process_time()
    while time.process_time() < began + seconds:
        pass
    for process in busy:
        process.kill()
        process.wait()
    os.sched_setaffinity(0, allowed)
    yield time.process_time() - began


def progress(path, count):
    """Yield items of 1 MB, and write down how many."""
    for number in range(count):
        path.write_text(str(number))
        yield bytes(2**20)


def fail(error):
    yield 1
    raise error


def fail_without_package():
    yield MissingExtraError("av", "video")
    raise MissingExtraError("av", "video")


def end(number):
    yield 1
    os.kill(os.getpid(), number)
    time.sleep(60)


def open_and_fail(path):
    yield 1
    file = path.open()
    raise OSError(f"{file.name} is damaged")


def open_files():
    yield from map(os.path.realpath, Path("/proc/self/fd").iterdir())


def leave():
    yield 1
    os._exit(3)


def allocate(size):
    yield 1
    yield len(bytearray(size))


def require(size):
    require_memory(size)
    yield size


def misread(size):
    """Take a failed allocation for damage, as decoders do."""
    try:
        yield len(bytearray(size))
    except MemoryError:
        raise ValueError("broken data stream") from None


def keep(size, kept=[]):  # noqa: B006
    kept.append(bytearray(size))
    yield os.getpid()


def report():
    logging.getLogger("florence_rag.decoder").warning("page %d is odd", 3)
    logging.getLogger("florence_rag.decoder").debug("too much")
    warnings.warn("an old file", UserWarning, stacklevel=1)
    print("printed by a library")
    yield sys.stdin.read()


def loop_forever():
    yield os.getpid()
    while True:
        pass
