"""Which files below folders have changed just now, told by the system, when they have come to rest."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from types import TracebackType

from watchfiles import Change, watch

from florence_rag.errors import InputError
from florence_rag.sources.files import MEDIA_BY_SUFFIX, SUBTITLES
from florence_rag.sources.paths import place_of

REST_S = 0.4
"""Who writes a file seldom pauses so long. One who does has its file looked at twice."""
MANY = 5_000
"""Paths at a time, beyond which the folders themselves are looked at: the system may have lost some more."""
_POLL_MS = 100


class FolderWatch:
    """Watches from `__enter__` on; then iterate. An iteration ends when stop is set."""

    def __init__(self, folders: Iterable[str | Path], stop: threading.Event | None = None) -> None:
        self.folders = [_folder(path) for path in folders]
        self._stop = stop or threading.Event()
        self._told: Generator[set[tuple[Change, str]], None, None] | None = None

    def __enter__(self) -> FolderWatch:
        self._told = watch(
            *self.folders,
            watch_filter=None,
            debounce=2 * _POLL_MS,
            rust_timeout=_POLL_MS,
            yield_on_timeout=True,
            stop_event=self._stop,
            ignore_permission_denied=True,
        )
        try:
            self._first = next(self._told, set())
        except (OSError, RuntimeError) as error:  # such as the system's limit
            raise InputError(f"{', '.join(map(repr, self.folders))} cannot be watched: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._told:
            self._told.close()

    def __iter__(self) -> Iterator[list[str]]:
        """Places to look at, sorted: files, folders that have come, and what is gone."""
        due: dict[str, float] = {}
        for change in self._changes():
            now = time.monotonic()
            due.update((place, now) for _, path in change for place in self._places(path))
            rested = sorted(place for place, since in due.items() if now - since >= REST_S)
            if rested:
                self._check_folders()
                yield self.folders if len(rested) > MANY else rested
                for place in rested:
                    del due[place]

    def _changes(self) -> Iterator[set[tuple[Change, str]]]:
        yield self._first
        if self._told:
            yield from self._told

    def _check_folders(self) -> None:
        """What lies on a disk that was taken away is not to be forgotten."""
        for folder in self.folders:
            if not os.path.isdir(folder):
                raise InputError(f"{folder!r} is gone; what was indexed of it is kept: bring it back and watch again")

    def _places(self, path: str) -> Iterator[str]:
        """What a change at a path concerns: a folder that has come brings what lies in it, subtitles their video."""
        if any(part.startswith(".") for part in self._inner_parts(path)):
            return
        place = Path(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        suffix = place.suffix.lower()
        if suffix in SUBTITLES:
            videos = (place.with_suffix(end) for end, media in MEDIA_BY_SUFFIX.items() if media == "video")
            yield from (str(video) for video in videos if video.is_file())
        elif suffix in MEDIA_BY_SUFFIX or place.is_dir() or not os.path.lexists(place):
            yield str(place)

    def _inner_parts(self, path: str) -> tuple[str, ...]:
        of = (folder for folder in self.folders if Path(path).is_relative_to(folder))
        return Path(path).relative_to(next(of, "/")).parts


def _folder(path: str | Path) -> str:
    place = place_of(path)
    if not os.path.isdir(place):
        raise InputError(f"{os.fspath(path)!r} is no folder; give folders to watch")
    return place
