"""Watches folders and reports the files that change in them, once nobody writes to them any more."""

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

from watchfiles import Change, watch

from florence_rag.errors import InputError
from florence_rag.sources.folders import is_in_database
from florence_rag.sources.io.uris import SUBTITLE_SUFFIXES, is_system_file
from florence_rag.sources.paths import path_to_uri
from florence_rag.sources.subtitles import SubtitleSearch, folders_served_by

SETTLE_S = 0.4
"""Seconds without a change after which a file counts as written. A slower writer has its file indexed twice."""
MAX_CHANGES = 5_000
"""With more changes at a time, whole folders are indexed, because the system may have dropped some events."""
_POLL_MS = 100


@contextmanager
def watch_folders(
    paths: Iterable[str | os.PathLike[str]], stop: threading.Event | None = None
) -> Iterator[Iterator[list[str]]]:
    """Watch folders, with everything below them, while the context is entered.

    Args:
        paths: The folders.
        stop: Ends the iteration when it is set.

    Yields:
        The folders, then for each change the sorted paths to index again: changed and deleted files, and new folders.

    Raises:
        InputError: If a path is not a folder, or the system cannot watch it.
    """
    folders = [_require_folder(path) for path in paths]
    events = watch(
        *folders,
        watch_filter=None,
        debounce=2 * _POLL_MS,
        rust_timeout=_POLL_MS,
        yield_on_timeout=True,
        stop_event=stop or threading.Event(),
        ignore_permission_denied=True,
    )
    with closing(events):
        try:
            first = next(events, set())
        except (OSError, RuntimeError) as error:  # such as the system's limit of watches
            raise InputError(f"{', '.join(map(repr, folders))} cannot be watched: {error}") from error
        yield chain([folders], _settled_changes(folders, chain([first], events)))


def _settled_changes(folders: list[str], events: Iterable[set[tuple[Change, str]]]) -> Iterator[list[str]]:
    pending: dict[str, float] = {}
    for event in events:
        now = time.monotonic()
        pending.update((path, now) for _, changed in event for path in _affected(changed, folders))
        settled = sorted(path for path, since in pending.items() if now - since >= SETTLE_S)
        if settled:
            for folder in folders:  # the files of a disconnected disk stay in the index
                if not os.path.isdir(folder):
                    raise InputError(f"{folder!r} is gone; its files stay in the index: bring it back and watch again")
            yield folders if len(settled) > MAX_CHANGES else settled
            for path in settled:
                del pending[path]


def _affected(changed: str, folders: Iterable[str]) -> Iterator[str]:
    """Yield the paths that a change concerns: a change of subtitles concerns their video."""
    folder = next((each for each in folders if Path(changed).is_relative_to(each)), "/")
    if any(part.startswith(".") for part in Path(changed).relative_to(folder).parts) or is_in_database(changed):
        return
    path = Path(os.path.realpath(os.path.dirname(changed)), os.path.basename(changed))
    suffix = path.suffix.lower()
    if suffix in SUBTITLE_SUFFIXES:
        yield from sorted(SubtitleSearch().videos_of(str(path)))
    elif not is_system_file(path.name):
        yield str(path)
        if not path.is_file():  # a folder that came or went may be one of subtitles
            yield from folders_served_by(str(path))


def _require_folder(path: str | os.PathLike[str]) -> str:
    uri = path_to_uri(path)
    if not os.path.isdir(uri):
        raise InputError(f"{os.fspath(path)!r} is not a folder; give folders to watch")
    return uri
