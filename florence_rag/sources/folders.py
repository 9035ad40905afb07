"""Searches folders for media files. Links that lead out of the folders are not followed."""

import os
from collections.abc import Iterable, Iterator

from florence_rag.sources.io.uris import SUBTITLE_SUFFIXES, guess_media, is_unusual, media_of, skip_reason, suffix_of
from florence_rag.types import Failure, Media, Skipped

LINK_OUT = "link out of the folder"
LINK_UP = "link to a parent folder"
UNUSED_SUBTITLES = "subtitles without a video"
_SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))


def is_ignored(name: str) -> bool:
    """Return whether a name is that of a hidden file or of one that a system or office program leaves behind."""
    return name.startswith((".", "~$")) or name.lower() in _SYSTEM_FILES


class FolderSearch:
    """Finds the media files in folders.

    Attributes:
        media: The medium of each file that was found, or why a folder cannot be read, by path.
    """

    def __init__(self, roots: Iterable[str], *, follow_links: bool = False) -> None:
        """Search below roots, which are resolved folders; `follow_links` follows links that lead out of them."""
        self.media: dict[str, Media | Failure] = {}
        self._roots = tuple(root.rstrip("/") for root in roots)
        self._follow_links = follow_links
        self._visited: set[str] = set()
        self._links: list[str] = []
        self._subtitles: list[str] = []
        self._unnamed: list[str] = []  # files without a usual suffix

    def add_folder(self, top: str) -> Iterator[Skipped]:
        """Add the files below a folder, and yield those that are skipped; the others wait for `finish`."""
        folders = [top]
        while folders:
            folder = folders.pop()
            if folder in self._visited:
                continue
            self._visited.add(folder)
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if is_ignored(entry.name):
                            continue
                        if entry.is_symlink():
                            self._links.append(entry.path)
                        elif entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        else:
                            yield from self._add_file(entry.path)
            except OSError as error:
                self.media[folder] = Failure(folder, f"the folder cannot be read: {error.strerror}")

    def add(self, path: str) -> Iterator[Skipped]:
        """Add a file or folder below the roots."""
        if os.path.islink(path):
            self._links.append(path)
        elif os.path.isdir(path):
            yield from self.add_folder(path)
        else:
            yield from self._add_file(path)

    def finish(self) -> Iterator[Skipped]:
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
                    yield from self.add_folder(target)
                elif target not in self.media and target not in targets:
                    targets.add(target)
                    yield from self._add_file(link)

    def unused_subtitles(self, used: Iterable[str]) -> Iterator[Skipped]:
        """Yield the subtitle files that do not belong to a video."""
        return (Skipped(path, UNUSED_SUBTITLES) for path in sorted(set(self._subtitles) - set(used)))

    @property
    def has_subtitles(self) -> bool:
        """Whether there are subtitle files."""
        return bool(self._subtitles)

    def _add_file(self, path: str) -> Iterator[Skipped]:
        if media := media_of(path):
            self.media[path] = media
        elif suffix_of(path) in SUBTITLE_SUFFIXES:
            self._subtitles.append(path)
        elif is_unusual(suffix_of(path)):
            self._unnamed.append(path)
        else:
            yield Skipped(path, skip_reason(path))

    def _refusal(self, target: str) -> str:
        """Return why a link to this target is not followed, or ""."""
        below = f"{target.rstrip('/')}/"
        if any(f"{root}/".startswith(below) and root != target for root in self._roots):
            return LINK_UP
        inside = any(f"{target}/".startswith(f"{root}/") for root in self._roots)
        return "" if inside or self._follow_links else LINK_OUT
