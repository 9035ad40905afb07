"""Selects the sources of an index by path, pattern or id, and deletes them. Their files are not touched."""

import fnmatch
import re
from collections.abc import Callable, Collection

from florence_rag.image_store import ImageStore, item_file
from florence_rag.index.base import ChunkIndex
from florence_rag.sources.paths import path_to_uri, uri_prefixes
from florence_rag.types import item_uri


def selector(name: str) -> Callable[[str], bool]:
    """Return a function that tells whether a name selects the source with a uri. The file need not exist any more.

    Args:
        name: The path of a file or of a folder, for everything in it; a URL; the id of an item; or a pattern, in which
            * and ? match within one folder, and ** any number of folders.
    """
    uri = path_to_uri(name)
    exact, inside, fits = {uri, item_uri(name)}, uri_prefixes(uri), _fits(uri)
    return lambda source: source in exact or source.startswith(inside) or fits(source)


def delete_sources(index: ChunkIndex, images: ImageStore, uris: Collection[str]) -> int:
    """Delete sources, and the images that only their items used; return the number of deleted chunks."""
    prefix = item_uri("")
    items = index.get([uri.removeprefix(prefix) for uri in uris if uri.startswith(prefix)])
    deleted = index.delete_sources(uris)
    images.drop(map(item_file, items))
    return deleted


def _fits(pattern: str) -> Callable[[str], bool]:
    """Return a function that matches uris folder by folder: one regular expression could backtrack for hours."""
    tests = [None if part == "**" else re.compile(fnmatch.translate(part)).fullmatch for part in pattern.split("/")]

    def fits(uri: str) -> bool:
        parts, at, place, any_folders, resume = uri.split("/"), 0, 0, -1, 0
        while at < len(parts):
            test = tests[place] if place < len(tests) else _nothing
            if test is None:  # an earlier ** need not be tried again
                any_folders, resume, place = place, at, place + 1
            elif test(parts[at]):
                at, place = at + 1, place + 1
            elif any_folders >= 0:
                resume += 1
                at, place = resume, any_folders + 1
            else:
                return False
        return all(test is None for test in tests[place:])

    return fits


def _nothing(part: str) -> None:
    """Match no part, after the end of a pattern."""
