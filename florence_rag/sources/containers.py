"""Lists the members of tars and tables and reports which of them changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from florence_rag.errors import FlorenceError, MediaError
from florence_rag.sources.io import Columns, open_uri, read_sidecar
from florence_rag.sources.io.locations import stat
from florence_rag.sources.io.remote_stat import FileStat
from florence_rag.sources.io.tars import SIDECAR_SUFFIXES, TarIndex, read_index, stem_of
from florence_rag.sources.io.uris import (
    Member,
    container_scheme,
    is_url,
    media_of,
    quote_name,
    suffix_of,
    unquote_name,
)
from florence_rag.sources.records import SourceUnavailable, hash_content, hash_version, inspect, make_record
from florence_rag.types import Failure, Source


def list_members(container: str, known: Mapping[str, Source], columns: Columns) -> Iterator[Source | Failure]:
    """Yield all members in their order; at a damaged place of the container, end with a failure."""
    try:
        container_stat = stat(container)
        members, problem = _list(container, columns)
    except MediaError as error:
        yield Failure(container, str(error))
    except FlorenceError as error:
        yield SourceUnavailable(container, str(error))
    else:
        yield from inspect_members(members, known, container_stat)
        if problem:
            yield Failure(container, f"{container!r} {problem}")


def inspect_members(
    members: Iterable[Member], known: Mapping[str, Source], container_stat: FileStat | None = None
) -> Iterator[Source | Failure]:
    """Yield the records of some members of one container, whose state is read again if it is not passed."""
    for member in members:
        yield inspect(member.uri, partial(_read_record, member, container_stat, known))


def _list(container: str, columns: Columns) -> tuple[Iterator[Member], str]:
    """Return the members, and why there may be more or ""."""
    scheme = container_scheme(container)
    if scheme == "tar":
        index = read_index(container, refresh=is_url(container))
        names = [name for name in index.files if _is_indexed(name, index)]
        empty = "" if names else f"holds nothing of a known kind among its {len(index.files)} members"
        return (Member("tar", container, quote_name(name)) for name in names), index.problem or empty
    from florence_rag.sources.io.tables import read_layout, row_fragment

    assert scheme is not None
    layout = read_layout(scheme, container, columns, refresh=is_url(container))
    rows = (Member(scheme, container, row_fragment(row, layout)) for row in range(layout.rows))
    return rows, "" if layout.rows else "has no rows"


def _is_indexed(name: str, index: TarIndex) -> bool:
    """Return whether a file of a tar is a source: not hidden, of a known kind, and no sidecar of an image or video."""
    if any(part.startswith(".") for part in name.removeprefix("./").split("/")):
        return False
    is_sidecar = suffix_of(name) in SIDECAR_SUFFIXES and any(
        media_of(each) not in (None, "text") for each in index.samples[stem_of(name)]
    )
    return media_of(name) is not None and not is_sidecar


def _read_record(member: Member, container_stat: FileStat | None, known: Mapping[str, Source]) -> Source | Failure:
    """Return the record of a member. Its size and time are those of its container."""
    media = media_of(unquote_name(member.fragment)) if member.scheme == "tar" else "image"
    if media is None:
        return Failure(member.uri, "the member is of no known kind")
    found = container_stat or stat(member.container)
    return make_record(member.uri, media, found, known, partial(_content_hash, member, found))


def _content_hash(member: Member, container_stat: FileStat) -> str:
    if is_url(member.container) and container_stat.version:
        return hash_version(member.uri, container_stat)
    return hash_content([open_uri(member.uri)], read_sidecar(member.uri).digest_input)
