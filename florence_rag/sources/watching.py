"""Watches folders and reports the files that change in them, once nobody writes them any more."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from types import TracebackType

from watchfiles import Change, watch

from florence_rag.errors import InputError
from florence_rag.sources.media_types import MEDIA_BY_SUFFIX, SUBTITLE_SUFFIXES
from florence_rag.sources.paths import path_to_uri

SETTLE_S = 0.4
"""Seconds without a change after which a file counts as written. A slower writer has its file indexed twice."""
MAX_CHANGES = 5_000
"""With more changes at a time, whole folders are indexed, because the system may have dropped some events."""
_POLL_MS = 100


class FolderWatch:
    """A context manager that watches folders while it is entered, and iterates over their changes.

    Args:
        folders: The folders, with everything below them.
        stop: Ends the iteration when it is set.

    Raises:
        InputError: If a path is no folder, or the system cannot watch it.
    """

    def __init__(self, folders: Iterable[str | Path], stop: threading.Event | None = None) -> None:
        self.folders = [_require_folder(path) for path in folders]
        self._stop = stop or threading.Event()
        self._events: Generator[set[tuple[Change, str]], None, None] | None = None

    def __enter__(self) -> FolderWatch:
        self._events = watch(
            *self.folders,
            watch_filter=None,
            debounce=2 * _POLL_MS,
            rust_timeout=_POLL_MS,
            yield_on_timeout=True,
            stop_event=self._stop,
            ignore_permission_denied=True,
        )
        try:
            self._first = next(self._events, set())
        except (OSError, RuntimeError) as error:  # such as the system's limit of watches
            raise InputError(f"{', '.join(map(repr, self.folders))} cannot be watched: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._events:
            self._events.close()

    def __iter__(self) -> Iterator[list[str]]:
        """Yield sorted paths to index again: changed and deleted files, and new folders."""
        pending: dict[str, float] = {}
        for event in self._iterate_events():
            now = time.monotonic()
            pending.update((path, now) for _, changed in event for path in self._affected(changed))
            settled = sorted(path for path, since in pending.items() if now - since >= SETTLE_S)
            if settled:
                self._check_folders()
                yield self.folders if len(settled) > MAX_CHANGES else settled
                for path in settled:
                    del pending[path]

    def _iterate_events(self) -> Iterator[set[tuple[Change, str]]]:
        yield self._first
        if self._events:
            yield from self._events

    def _check_folders(self) -> None:
        """Raise InputError if a folder is gone, so that the files of a disconnected disk stay in the index."""
        for folder in self.folders:
            if not os.path.isdir(folder):
                raise InputError(f"{folder!r} is gone; its files stay in the index: bring it back and watch again")

    def _affected(self, changed: str) -> Iterator[str]:
        """Yield the paths that a change concerns: a change of subtitles concerns their video."""
        if any(part.startswith(".") for part in self._inner_parts(changed)):
            return
        path = Path(os.path.realpath(os.path.dirname(changed)), os.path.basename(changed))
        suffix = path.suffix.lower()
        if suffix in SUBTITLE_SUFFIXES:
            videos = (path.with_suffix(end) for end, media in MEDIA_BY_SUFFIX.items() if media == "video")
            yield from (str(video) for video in videos if video.is_file())
        elif suffix in MEDIA_BY_SUFFIX or path.is_dir() or not os.path.lexists(path):
            yield str(path)

    def _inner_parts(self, path: str) -> tuple[str, ...]:
        parents = (folder for folder in self.folders if Path(path).is_relative_to(folder))
        return Path(path).relative_to(next(parents, "/")).parts


def _require_folder(path: str | Path) -> str:
    uri = path_to_uri(path)
    if not os.path.isdir(uri):
        raise InputError(f"{os.fspath(path)!r} is no folder; give folders to watch")
    return uri
