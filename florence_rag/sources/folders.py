"""Searches folders for media files. Links that lead out of the folders are not followed."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from florence_rag.sources.io.uris import (
    AMBIGUOUS_SUFFIXES,
    SUBTITLE_SUFFIXES,
    guess_media,
    is_ignored,
    is_unusual,
    media_of,
    skip_reason,
    suffix_of,
)
from florence_rag.sources.paths import is_inside
from florence_rag.sources.subtitles import SubtitleSearch
from florence_rag.types import Failure, Media, Skipped

LINK_OUT = "link out of the folder"
LINK_UP = "link to a parent folder"
_DATABASE_SUFFIXES = (".db", ".images", ".classifiers", ".server.json")
UNUSED_SUBTITLES = "subtitles without a video"


class FolderSearch:
    """Finds the media files in folders.

    Attributes:
        media: The medium of each file that was found, or why a folder cannot be read, by path.
    """

    def __init__(self, *, follow_links: bool) -> None:
        self.media: dict[str, Media | Failure] = {}
        self._roots: Sequence[str] = ()
        self._follow_links = follow_links
        self._visited: set[str] = set()
        self._links: list[str] = []
        self._subtitles: list[str] = []
        self._unnamed: list[str] = []  # files whose suffix does not tell their kind

    def find(self, folders: Iterable[str], paths: Iterable[str], roots: Sequence[str]) -> Iterator[Skipped]:
        """Add the media in folders and among paths, and yield what is skipped.

        Args:
            folders: Resolved folders.
            paths: Files and folders that were found below the roots, perhaps through a link.
            roots: Resolved folders, out of which no link is followed unless the search follows all links.
        """
        self._roots = roots
        skipped = chain(
            chain.from_iterable(map(self._add_folder, folders)),
            chain.from_iterable(map(self._add, paths)),
            self._finish(),
        )
        counted: set[str] = set()  # a link may lead to the folder of a path
        for each in skipped:
            if each.source not in counted:
                counted.add(each.source)
                yield each

    def _add_folder(self, top: str) -> Iterator[Skipped]:
        """Add the files below a folder, and yield those that are skipped; the others wait for `_finish`."""
        folders = [top]
        while folders:
            folder = folders.pop()
            if folder in self._visited:
                continue
            self._visited.add(folder)
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if is_ignored(entry.name) or _is_of_database(entry.path):
                            continue
                        if entry.is_symlink():
                            self._links.append(entry.path)
                        elif entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        else:
                            yield from self._add_file(entry.path)
            except OSError as error:
                self.media[folder] = Failure(folder, f"the folder cannot be read: {error.strerror}")

    def _add(self, path: str) -> Iterator[Skipped]:
        """Add a file or folder that was found below the roots, perhaps through a link."""
        if is_in_database(path):
            return
        if os.path.islink(path) or not is_inside(path, self._roots):
            self._links.append(path)
        elif os.path.isdir(path):
            yield from self._add_folder(path)
        else:
            yield from self._add_file(path)

    def _finish(self) -> Iterator[Skipped]:
        """Add what links lead to, then files without a usual suffix that are media, and yield the rest of both."""
        targets: set[str] = set()
        yield from self._follow(targets)
        for path in self._unnamed:
            if path in targets:  # it is indexed under the name of a link
                continue
            if media := guess_media(path):
                self.media[path] = media
            else:
                yield Skipped(path, skip_reason(path))

    def _follow(self, targets: set[str]) -> Iterator[Skipped]:
        """Add what the links lead to and is not found yet, collect the targets, and yield the other links."""
        while self._links:
            links, self._links = sorted(self._links), []
            for link in links:
                target = os.path.realpath(link)
                if not os.path.exists(target):
                    yield from self._add_file(link)
                elif reason := self._refusal(target):
                    yield Skipped(link, reason)
                elif os.path.isdir(target):
                    yield from self._add_folder(target)
                elif target not in self.media and target not in targets:
                    targets.add(target)
                    yield from self._add_file(link)

    def unused_subtitles(self, search: SubtitleSearch) -> Iterator[Skipped]:
        """Yield the subtitle files that do not belong to a video."""
        return (Skipped(path, UNUSED_SUBTITLES) for path in sorted(set(self._subtitles)) if not search.videos_of(path))

    def _add_file(self, path: str) -> Iterator[Skipped]:
        suffix = suffix_of(path)
        if is_unusual(suffix) or suffix in AMBIGUOUS_SUFFIXES:
            self._unnamed.append(path)
        elif media := media_of(path):
            self.media[path] = media
        elif suffix in SUBTITLE_SUFFIXES:
            self._subtitles.append(path)
        else:
            yield Skipped(path, skip_reason(path))

    def _refusal(self, target: str) -> str:
        """Return why a link to this target is not followed, or ""."""
        if is_inside(target, self._roots):
            return ""
        if any(is_inside(root, [target]) for root in self._roots):
            return LINK_UP
        return "" if self._follow_links else LINK_OUT


def is_in_database(path: str) -> bool:
    """Return whether a path is that of a Milvus Lite database, of what is stored next to it, or of a file in them."""
    return any(_is_of_database(str(each)) for each in (path, *Path(path).parents))


def _is_of_database(path: str) -> bool:
    suffix = next(filter(path.endswith, _DATABASE_SUFFIXES), "")
    folder = path.removesuffix(suffix) + ".db"
    return bool(suffix) and os.path.isfile(f"{folder}/LOCK") and os.path.isdir(f"{folder}/collections")
