"""The main program of a worker: runs tasks, and sends what they yield."""

import ctypes
import logging
import os
import pickle
import signal
import sys
import threading
import traceback
import warnings
from contextlib import suppress
from logging.handlers import QueueHandler
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO, TextIO

from florence_rag.workers.memory import data_bytes, is_memory_error, limit_memory, releases_memory
from florence_rag.workers.messages import join_parts, read_parts, write_message

if sys.platform == "linux":
    import resource

_IDLE_S = 60.0
"""A worker without a task ends after this time, to release its memory."""
_SET_PARENT_DEATH_SIGNAL = 1


class _Sender(QueueHandler):
    """Sends messages, records of logs and warnings to the program that started this process, and ends with it."""

    def __init__(self, pipe: BinaryIO) -> None:
        super().__init__(SimpleQueue[Any]())
        self._pipe, self._lock = pipe, threading.RLock()

    def send(self, kind: str, value: Any = None) -> None:
        with self._lock:
            try:
                write_message(self._pipe, (kind, value))
            except OSError:
                os._exit(0)

    def enqueue(self, record: logging.LogRecord) -> None:
        self.send("log", record)

    def warn(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Send a warning; its arguments are those of `warnings.showwarning`."""
        is_portable = category.__module__ in ("builtins", "florence_rag.errors")
        self.send("warning", (str(message), category if is_portable else UserWarning, filename, lineno))


def main() -> None:
    """Run the tasks of the program that started this process, until it closes the pipe or ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no image of the memory behind
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tasks, answers = _take_pipes()
    sender = _Sender(answers)
    logging.getLogger().addHandler(sender)
    warnings.showwarning = sender.warn
    inbox = SimpleQueue[list[bytearray]]()
    threading.Thread(target=_receive, args=(tasks, inbox), daemon=True).start()
    base = data_bytes()
    with suppress(Empty):
        while True:
            _adopt(*join_parts(inbox.get(timeout=_IDLE_S)))
            parts = inbox.get()
            sender.send("started")
            message, allowed = _run(parts, base, sender)
            sender.send(*message)
            del parts, message  # an error keeps the file open that it tells of
            if not releases_memory(base, allowed):
                break
    os._exit(0)


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Return standard input and output, and put others in their place, which libraries may read and print to."""
    tasks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return tasks, answers


def _receive(tasks: BinaryIO, inbox: "SimpleQueue[list[bytearray]]") -> None:
    """Receive tasks in a thread, which ends a worker that is busy when its program ends."""
    with suppress(EOFError, OSError):
        while True:
            inbox.put(read_parts(tasks))
    os._exit(0)


def _adopt(path: list[str], folder: str | None, environment: dict[str, str], level: int) -> None:
    """Take over the state of the program."""
    sys.path[:] = path
    if os.environ != environment:
        os.environ.clear()
        os.environ.update(environment)
    logging.getLogger("florence_rag").setLevel(level)
    if folder is not None:
        with suppress(OSError):
            os.chdir(folder)


def _run(parts: list[bytearray], base: int, sender: _Sender) -> tuple[tuple[str, Any], int | None]:
    """Run a task, and return the last message about it and its limit of memory."""
    memory_bytes: int | None = None
    try:
        memory_bytes, function, args = join_parts(parts)
        limit_memory(base, memory_bytes)
        for item in function(*args):
            sender.send("item", item)
            del item
    except Exception as error:
        limit_memory(base, None)
        return ("memory", None) if is_memory_error(error) else ("error", _portable(error)), memory_bytes
    limit_memory(base, None)
    return ("end", None), memory_bytes


def _portable(error: Exception) -> Exception:
    """Return an error that the program can receive, with the traceback as a note."""
    note = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"in a worker process:\n{note}")
    return error
