"""Opens what is no file of its own: a URL, the member of a tar, the row of a table.

    https://host/a.jpg    s3://bucket/a.jpg
    tar:/photos/shard.tar#0001.jpg    tar:s3://bucket/shard.tar#0001.jpg
    parquet:/photos/part.parquet#row=17&image=photo    arrow:/dataset/data-00000-of-00001.arrow#row=17&image=photo

Such a uri stands where otherwise an absolute path stands, in every Source, Chunk and Hit. Only what a person names for
an index becomes one: pictures that a program or an agent gives as a string are paths, and are never looked up here.
"""

from __future__ import annotations

from typing import BinaryIO, Protocol

from florence_rag.sources.io.sidecar_metadata import NONE, Columns, SidecarMetadata
from florence_rag.sources.io.uris import Item, is_url, parse_item

__all__ = ["Columns", "SidecarMetadata", "facts_of", "is_elsewhere", "open_place"]


def is_elsewhere(uri: str) -> bool:
    """Whether it is opened here, and no path."""
    return is_url(uri) or parse_item(uri) is not None


def open_place(uri: str) -> BinaryIO:
    """Its bytes, seekable, fetched whole if they are not on this machine.

    MediaError if what is there is damaged; InputError if it cannot be reached, which may be another matter tomorrow.
    """
    item = parse_item(uri)
    if item is None:
        from florence_rag.sources.io.fsspec_io import fetch

        return fetch(uri)
    return _kind(item).open_item(item)


def facts_of(uri: str) -> SidecarMetadata:
    """What is said of it beside its bytes; of a file or a URL nothing."""
    item = parse_item(uri)
    return NONE if item is None else _kind(item).facts_of_item(item)


class _Kind(Protocol):
    def open_item(self, item: Item) -> BinaryIO: ...

    def facts_of_item(self, item: Item) -> SidecarMetadata: ...


def _kind(item: Item) -> _Kind:
    """The module that knows the kind of container."""
    if item.scheme == "tar":
        from florence_rag.sources.io import tars

        return tars
    from florence_rag.sources.io import tables

    return tables
