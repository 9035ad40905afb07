"""The order in which Milvus Lite runs calls: reads side by side, so that a long one delays no short one; writes alone.

A search reads a snapshot of what was written before it, so it delays no write, and no read that waits for that write.

Two writes at once make Lite lose rows, and a read during a flush misses the rows that are being moved.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Condition, Lock
from typing import Any

import grpc  # type: ignore[import-untyped]


class ReadWriteLock:
    """Admits any number of readers, or one writer. Nobody overtakes a waiting writer, so readers cannot starve it."""

    def __init__(self) -> None:
        self._entrance = Lock()
        self._left = Condition()
        self._readers = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Wait for the writers that came before, and keep later ones waiting."""
        with self._entrance, self._left:
            self._readers += 1
        try:
            yield
        finally:
            with self._left:
                self._readers -= 1
                self._left.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Wait for all who came before, and keep all others waiting."""
        with self._entrance, self._left:
            self._left.wait_for(lambda: self._readers == 0)
            yield


class CallOrder(grpc.ServerInterceptor):  # type: ignore[misc]
    """Runs each call of a gRPC server as a reader or as a writer.

    Args:
        problem: Returns why no call can be answered, or "".

    Attributes:
        lock: For calls that do not come through the server.
    """

    def __init__(self, problem: Callable[[], str]) -> None:
        self.lock = ReadWriteLock()
        # A search takes a snapshot as a reader, and searches it beside writers.
        self._turns: dict[str, Callable[[], AbstractContextManager[None]]] = {
            "Search": nullcontext,
            "HybridSearch": self.lock.reading,
            "Query": self.lock.reading,
        }
        self._problem = problem

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """Return the handler of a call, which waits for its turn."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        turn = self._turns.get(handler_call_details.method.rpartition("/")[2], self.lock.writing)

        def run(request: Any, context: Any) -> Any:
            with turn():
                if problem := self._problem():
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)  # which pymilvus does not repeat
                return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(run, handler.request_deserializer, handler.response_serializer)
