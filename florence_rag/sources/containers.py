"""What lies in tars and tables, and which of it changed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b

from florence_rag.errors import FlorenceError, MediaError
from florence_rag.sources.files import MEDIA_BY_SUFFIX
from florence_rag.sources.io import Columns, facts_of, open_place
from florence_rag.sources.io.containers import UNKNOWN, Version, version_of
from florence_rag.sources.io.tars import FACT_SUFFIXES, Contents, contents, stem_of, suffix_of
from florence_rag.sources.io.uris import Item, is_url, quoted, scheme_of, unquoted
from florence_rag.sources.paths import SourceUnavailable
from florence_rag.types import Failure, Media, Source

_BLOCK = 1 << 20


def items_of(container: str, known: Mapping[str, Source], columns: Columns) -> Iterator[Source | Failure]:
    """All items, in their order, as long as the container lets itself be read; at last why it does not."""
    try:
        version = version_of(container)
        items, problem = _items(container, columns)
    except MediaError as error:
        yield Failure(container, str(error))
    except FlorenceError as error:
        yield SourceUnavailable(container, str(error))
    else:
        for item in items:
            yield _look(item, version, known.get(item.uri))
        if problem:
            yield Failure(container, f"{container!r} {problem}")


def look_at_items(items: Iterable[Item], known: Mapping[str, Source]) -> Iterator[Source | Failure]:
    """Some items of one container."""
    for item in items:
        try:
            version = version_of(item.container)
        except FlorenceError as error:
            yield SourceUnavailable(item.uri, str(error))
        else:
            yield _look(item, version, known.get(item.uri))


def _items(container: str, columns: Columns) -> tuple[Iterator[Item], str]:
    """And why there may be more, or ""."""
    scheme = scheme_of(container)
    if scheme == "tar":
        found = contents(container, again=is_url(container))
        names = (name for name in found.members if _medium(name, found))
        return (Item("tar", container, quoted(name)) for name in names), found.problem or _emptiness(found)
    from florence_rag.sources.io.tables import inner_of, layout

    assert scheme is not None
    table = layout(scheme, container, columns, again=is_url(container))
    problem = "" if table.rows else "has no rows"
    return (Item(scheme, container, inner_of(row, table)) for row in range(table.rows)), problem


def _emptiness(found: Contents) -> str:
    if any(_medium(name, found) for name in found.members):
        return ""
    return f"holds nothing of a known kind among its {len(found.members)} members"


def _medium(name: str, found: Contents) -> Media | None:
    """Of a member; None of those that speak of another, are hidden, or of unknown kind."""
    medium = MEDIA_BY_SUFFIX.get(suffix_of(name))
    if any(part.startswith(".") for part in name.removeprefix("./").split("/")):
        return None
    is_said = suffix_of(name) in FACT_SUFFIXES
    return None if is_said and any(_shows(each) for each in found.samples[stem_of(name)]) else medium


def _shows(name: str) -> bool:
    return MEDIA_BY_SUFFIX.get(suffix_of(name), "text") != "text"


def _look(item: Item, version: Version, before: Source | None) -> Source | Failure:
    """size_bytes and modified_ns of an item are those of its container."""
    if item.uri.encode("utf-8", "backslashreplace").decode() != item.uri:
        return Failure(item.uri.encode("utf-8", "backslashreplace").decode(), "its name is not valid UTF-8; rename it")
    if before and (before.size_bytes, before.modified_ns) == version != UNKNOWN:
        return before
    medium = MEDIA_BY_SUFFIX.get(suffix_of(unquoted(item.inner))) if item.scheme == "tar" else "image"
    if medium is None:
        return Failure(item.uri, "it is of no known kind")
    try:
        digest = _version_digest(item, version) if is_url(item.container) and version != UNKNOWN else _digest(item.uri)
    except MediaError as error:
        return Failure(item.uri, str(error))
    except FlorenceError as error:
        return SourceUnavailable(item.uri, str(error))
    return Source(item.uri, medium, *version, digest) if digest else Failure(item.uri, "it is empty (0 bytes)")


def _version_digest(item: Item, version: Version) -> str:
    """What lies elsewhere is fetched once, to be indexed, and not before to be hashed."""
    return blake2b(f"{item.uri}\0{version}".encode(), digest_size=16).hexdigest()


def _digest(uri: str) -> str:
    """Of the bytes and what is said of them; "" if there are none."""
    digest = blake2b(digest_size=16)
    with open_place(uri) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        while block := file.read(_BLOCK):
            digest.update(block)
    digest.update(facts_of(uri).digest_input)
    return digest.hexdigest() if size else ""
