"""The process of a worker, as the program that started it sees it."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO, cast

from florence_rag.deferred_signals import POLL_S
from florence_rag.workers.messages import join_parts, read_parts, write_message

if sys.platform == "linux":
    import fcntl

Message = tuple[str, Any]
"""What a worker sends: "started", "item", "end", "error", "memory", "log" or "warning", and the value."""

_MAIN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from florence_rag.workers.child import main; main()"
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
"""Each worker uses one processor. Its threads and libraries share memory, so that less is reserved: Arrow alone
reserves 1 GB, and a worker that holds so much after a task is replaced by a new one."""
_EXIT_S = 5.0
_PIPE_BYTES = 2**20


class Worker:
    """A process that runs one task at a time, for one thread at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _MAIN, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _ENVIRONMENT,
            start_new_session=True,  # Ctrl-C in a terminal reaches the program only, which then stops its workers
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
        )
        _widen(cast(BinaryIO, self._process.stdout))
        self._wanted, self._inbox = threading.Semaphore(0), SimpleQueue[Message | None]()
        threading.Thread(target=self._receive, name="florence-worker", daemon=True).start()

    def begin(self, check: Callable[[], None], *task: Any) -> bool:
        """Start a task, or return False if the process has ended; call `check` while it starts.

        The worker sees the folder, the environment and the level of logs that the program has now.
        """
        folder: str | None = None
        with suppress(OSError):
            folder = os.getcwd()
        level = logging.getLogger("florence_rag").getEffectiveLevel()
        pipe = cast(BinaryIO, self._process.stdin)
        try:
            write_message(pipe, (sys.path, folder, dict(os.environ | _ENVIRONMENT), level))
            write_message(pipe, task)
        except OSError:
            return False
        return self.receive(check) is not None

    def receive(self, check: Callable[[], None]) -> Message | None:
        """Wait for the next message that no logger receives, or return None if the process ends; call `check`."""
        while True:
            self._wanted.release()
            message = self._next(check)
            if message is None or not _pass_on(*message):
                return message

    def starved_s(self) -> float:
        """Return how long one of its threads has waited for a processor, in seconds; 0.0 if unknown."""
        longest = 0
        for file in Path(f"/proc/{self._process.pid}/task").glob("*/schedstat"):
            with suppress(OSError, ValueError, IndexError):  # the thread has ended
                longest = max(longest, int(file.read_text().split()[1]))
        return longest / 1e9

    def kill(self) -> int | None:
        """End the process, and return its exit code."""
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL) if os.name == "posix" else self._process.kill()
        return self.exit_code()

    def exit_code(self) -> int | None:
        """Wait for the end of the process, and release its pipes; None if the system cannot end it now."""
        self._wanted.release()  # ends the thread
        with suppress(OSError):
            cast(BinaryIO, self._process.stdin).close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_S)
        return self._process.returncode

    def _next(self, check: Callable[[], None]) -> Message | None:
        while True:
            with suppress(Empty):
                return self._inbox.get(timeout=POLL_S)
            check()

    def _receive(self) -> None:
        """Read a message whenever one is wanted: what the worker sends beyond it waits in the worker."""
        with cast(BinaryIO, self._process.stdout) as pipe:
            while True:
                self._wanted.acquire()
                try:
                    self._inbox.put(join_parts(read_parts(pipe)))
                except (EOFError, OSError):
                    self._inbox.put(None)
                    return
                except Exception as error:  # a class that only the worker can import
                    self._inbox.put(("invalid", error))


def _widen(pipe: BinaryIO) -> None:
    """Let a pipe hold a frame, so that its two ends wait for each other less often."""
    if sys.platform == "linux":
        with suppress(OSError):  # a user may have only so many wide pipes
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _pass_on(kind: str, value: Any) -> bool:
    """Pass a record of a log or a warning on to this program, and return whether the message was one."""
    if kind == "log":
        logger = logging.getLogger(value.name)
        if logger.isEnabledFor(value.levelno):
            logger.handle(value)
    elif kind == "warning":
        warnings.warn_explicit(*value)
    return kind in ("log", "warning")
