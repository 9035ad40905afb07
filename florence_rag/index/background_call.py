"""Makes one call at a time in a thread of its own."""

from collections.abc import Callable
from threading import Lock, Thread


class BackgroundCall:
    """A call that is made beside what its owner does, and never twice at a time. One thread uses this object."""

    def __init__(self, call: Callable[[], None], name: str) -> None:
        self._call = call
        self._name = name  # of its threads
        self._lock = Lock()  # Ctrl-C may interrupt `start` when the thread runs already
        self._thread: Thread | None = None
        self._error: BaseException | None = None

    @property
    def has_failed(self) -> bool:
        """Whether `wait` raises an error."""
        return self._error is not None

    def start(self) -> None:
        """Make the call in the background, after `wait`."""
        self._thread = Thread(target=self._run, name=self._name)
        self._thread.start()

    def run(self) -> None:
        """Make the call now, after `wait`."""
        with self._lock:
            self._call()

    def wait(self) -> None:
        """Wait for the call in the background, if there is one, and raise its error, once."""
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join()
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            self.run()
        except BaseException as error:
            self._error = error
