"""Runs code that may hang, crash or need much memory in processes of its own, where it can be stopped.

A worker is a warm process that runs one generator function at a time and sends what it yields. It is started as
`python -c`, not by multiprocessing, which would run the `__main__` module of the program again, or fork its threads.
A worker that exceeds its limits is killed, and the next call gets another one. It is no sandbox: it may do whatever the
program may do.
"""

from florence_rag.workers.memory import require_memory
from florence_rag.workers.pool import DEFAULT_LIMITS, Limits, call_while_waiting, close_workers, start_workers, stream

__all__ = [
    "DEFAULT_LIMITS",
    "Limits",
    "call_while_waiting",
    "close_workers",
    "require_memory",
    "start_workers",
    "stream",
]
