"""Counts what is skipped below each folder that a person names, so that an index can tell it later."""

from collections.abc import Iterable, Mapping

from florence_rag.skip_counts import SkipCounts
from florence_rag.sources import prefixes_below
from florence_rag.sources.io.uris import parse_member
from florence_rag.types import Skipped


class FolderCounts:
    """Counts the records of one run by folder or container; of two inside each other, by the outer one."""

    def __init__(self, folders: Iterable[str]) -> None:
        self._by_folder = {folder.rstrip("/"): SkipCounts() for folder in folders}
        self._by_parent: dict[str, SkipCounts | None] = {}

    def add(self, record: Skipped) -> None:
        """Count a record."""
        member = parse_member(record.source)
        parent = member.container if member else record.source.rpartition("/")[0]
        if parent not in self._by_parent:
            self._by_parent[parent] = next(filter(None, map(self._by_folder.get, _with_parents(parent))), None)
        if counts := self._by_parent[parent]:
            counts.add(record)

    def changes(self, recorded: Mapping[str, Mapping[str, int]], unread: Iterable[str]) -> dict[str, dict[str, int]]:
        """Return the counts to record, by folder, empty where there is nothing to count any more.

        Args:
            recorded: The counts of earlier runs, of folders that do not lie inside each other.
            unread: Folders that could not be read in this run.
        """
        folders = self._by_folder.keys() - {folder.rstrip("/") for folder in unread}
        below = prefixes_below(folders)
        inner = {each for each in recorded if each.startswith(below)}
        outer = prefixes_below(recorded.keys() - inner)
        counts = {folder: self._by_folder[folder].by_reason for folder in folders if not folder.startswith(outer)}
        changed = {folder: found for folder, found in counts.items() if found != recorded.get(folder, {})}
        return changed | {folder: {} for folder in inner}


def _with_parents(path: str) -> Iterable[str]:
    """Yield the folders that contain a path, the outermost first, and the path."""
    yield from (path[:end] for end, character in enumerate(path) if character == "/")
    yield path
