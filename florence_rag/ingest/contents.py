"""Selects the sources of an index by path, pattern or id, and deletes them. Their files are not touched."""

import fnmatch
import re
from collections.abc import Callable, Collection

from florence_rag.image_store import ImageStore, item_file
from florence_rag.index.base import ChunkIndex
from florence_rag.sources.paths import path_to_uri, uri_prefixes
from florence_rag.types import item_uri

_WILDCARD = re.compile(r"(\*\*/|\*\*|\*|\?|\[[^]/]+\])")
_REGEX = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def selector(name: str) -> Callable[[str], bool]:
    """Return a function that tells whether a name selects the source with a uri. The file need not exist any more.

    Args:
        name: The path of a file or of a folder, for everything in it; a URL; the id of an item; or a pattern, in which
            * and ? match within one folder, and ** any number of folders.
    """
    uri = path_to_uri(name)
    exact, inside, pattern = {uri, item_uri(name)}, uri_prefixes(uri), re.compile(_to_regex(uri))
    return lambda source: source in exact or source.startswith(inside) or pattern.fullmatch(source) is not None


def delete_sources(index: ChunkIndex, images: ImageStore, uris: Collection[str]) -> int:
    """Delete sources, and the images that only their items used; return the number of deleted chunks."""
    prefix = item_uri("")
    items = index.get([uri.removeprefix(prefix) for uri in uris if uri.startswith(prefix)])
    deleted = index.delete_sources(uris)
    images.drop(map(item_file, items))
    return deleted


def _to_regex(pattern: str) -> str:
    parts = _WILDCARD.split(pattern)  # wildcards stand at the odd positions
    return "".join(_REGEX.get(part) or _to_set(part) if i % 2 else re.escape(part) for i, part in enumerate(parts))


def _to_set(part: str) -> str:
    """Return the regular expression of a set of characters, such as [a-z] or [!0-9]."""
    return fnmatch.translate(part).removeprefix("(?s:")[: -len(r")\Z")]
