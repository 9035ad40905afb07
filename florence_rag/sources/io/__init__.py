"""Reads the bytes of any source: a file, a URL, a file of a tar, a row of a table.

Only a path that a person names for an index becomes a URL or a member of a container. Images that a program or an
agent passes as a string are paths, file: URLs or data URIs, and are never opened here.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import BinaryIO

from florence_rag.sources.io.locations import open_file, open_whole
from florence_rag.sources.io.sidecar_metadata import Columns, SidecarMetadata
from florence_rag.sources.io.uris import Member, Scheme, container_scheme, is_path, parse_member
from florence_rag.types import Skipped

__all__ = ["Columns", "SidecarMetadata", "is_path", "list_members", "open_file", "open_uri", "read_sidecar"]


def open_uri(uri: str) -> BinaryIO:
    """Return the bytes of a source as a seekable file; a remote source is fetched whole.

    Raises:
        MediaError: If a file cannot be opened, or a container is damaged.
        InputError: If the source cannot be reached now.
    """
    member = parse_member(uri)
    file: BinaryIO = open_whole(uri) if member is None else _reader(member.scheme).open_member(member)
    return file


def read_sidecar(uri: str) -> SidecarMetadata:
    """Return the caption and metadata that a container holds of a member; empty ones for a file or a URL."""
    member = parse_member(uri)
    return _reader(member.scheme).read_member_sidecar(member) if member else SidecarMetadata()


def list_members(container: str, columns: Columns) -> tuple[Iterator[Member | Skipped], str]:
    """Return the members of a container that are sources or skipped, and the reason why it may hold more or ""."""
    reader = _reader(container_scheme(container))
    members: tuple[Iterator[Member | Skipped], str] = reader.list_members(container, columns)
    return members


def _reader(scheme: Scheme | None) -> ModuleType:
    """Return the module that reads this kind of container."""
    if scheme == "tar":
        from florence_rag.sources.io import tars

        return tars
    from florence_rag.sources.io import tables

    return tables
