"""Reads tables with a column of images: Parquet, and the Arrow files of Hugging Face datasets."""

from __future__ import annotations

import os
import threading
import weakref
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from itertools import accumulate
from typing import Any, BinaryIO
from urllib.parse import parse_qs, quote, urlencode

from florence_rag.errors import InputError, MediaError, MissingExtraError, MissingRowsError, NoImageError
from florence_rag.json_values import parse_json
from florence_rag.sources.io.locations import open_parts, stat_for_cache
from florence_rag.sources.io.remote_stat import FileStat
from florence_rag.sources.io.sidecar_metadata import Columns, SidecarMetadata, likely_caption
from florence_rag.sources.io.uris import Member, Scheme, container_scheme, is_url

try:
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet
except ImportError as error:
    raise MissingExtraError("pyarrow", "remote") from error

_IMAGE_NAMES = "image img jpg jpeg png webp picture photo image_bytes bytes content".split()
_BYTES = frozenset({"binary", "large_binary", "binary_view"})
_STRINGS = frozenset({"string", "large_string", "string_view"})
_CACHE_LOCK = threading.Lock()
_BATCH_ROWS = 16
"""The rows that are decoded at a time. A few bytes may stand for gigabytes, because equal cells are stored once."""
_Opened = tuple[Any, list[int], Callable[[int], Iterable[Any]]]
"""The schema, the number of rows of each part, and the function that reads a part in batches."""


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """An open table in parts: the row groups of a Parquet file, or the batches of an Arrow file."""

    schema: Any
    starts: list[int]  # the first row of each part
    rows: int
    class_names: Mapping[str, list[str]]  # column -> the names of its numbers
    read_part: Callable[[int], Iterable[Any]]  # returns batches of rows


def list_members(container: str, columns: Columns) -> tuple[Iterator[Member], str]:
    """Return the rows of a table, and the reason why it holds none or "".

    Their fragments name the columns, which determine the content of a row. A table at a URL is read again.
    """
    scheme: Scheme = "arrow" if container_scheme(container) == "arrow" else "parquet"
    with _CACHE_LOCK:
        if is_url(container):
            _open_part.cache_clear()
            _open_table.cache_clear()
        table = _open_table(scheme, container, stat_for_cache(container))
    names = _choose_columns(table.schema, container, columns)
    fragments = (urlencode({"row": row, **names}, quote_via=quote, safe="") for row in range(table.rows))
    return (Member(scheme, container, each) for each in fragments), "" if table.rows else "has no rows"


def open_member(member: Member) -> BinaryIO:
    """Return the bytes of the image in a row, in memory."""
    number, image, _ = _parse_fragment(member)
    cell = _read_row(member, number, image)[image]
    if isinstance(cell, Mapping):
        data, path = cell.get("bytes"), cell.get("path")
        if data is None and path:
            return _open_neighbor(member.container, str(path), number)
        cell = data
    if cell is None:
        raise NoImageError(f"row {number} of {member.container!r} has no image in its column {image!r}")
    if not isinstance(cell, bytes) or not cell:
        raise MediaError(f"row {number} of {member.container!r} has no image in its column {image!r}")
    return BytesIO(cell)


def read_member_sidecar(member: Member) -> SidecarMetadata:
    """Return the other columns of a row."""
    number, image, caption = _parse_fragment(member)
    row = _read_row(member, number, image)
    del row[image]
    return SidecarMetadata.from_values(row, caption)


def _open_neighbor(container: str, path: str, row: int) -> BinaryIO:
    """Open the file that a table names, if it lies below the table's folder: the table may come from a stranger."""
    folder = os.path.dirname(container)
    target = os.path.realpath(os.path.join(folder, path))
    if is_url(container) or not target.startswith(os.path.realpath(folder) + os.sep) or not os.path.isfile(target):
        raise MediaError(f"row {row} of {container!r} holds only a path, {path!r:.200}, to no file in the same folder")
    return open_parts(target)


def _parse_fragment(member: Member) -> tuple[int, str, str]:
    """Return the row, the column of the image, and the column of the caption or ""."""
    names = {name: values[-1] for name, values in parse_qs(member.fragment).items()}
    if not names.get("row", "").isdecimal() or not names.get("image"):
        raise InputError(f"{member.uri!r} has no row; write {member.scheme}:{member.container}#row=0&image=COLUMN")
    return int(names["row"]), names["image"], names.get("caption", "")


def _read_row(member: Member, number: int, image: str) -> dict[str, Any]:
    with _CACHE_LOCK:
        version = stat_for_cache(member.container)
        table = _open_table(member.scheme, member.container, version)
        if number >= table.rows or image not in table.schema.names:
            raise InputError(f"{member.container!r} has no row {number} with a column {image!r}; index it again")
        index = bisect_right(table.starts, number) - 1
        row = _open_part(member.scheme, member.container, version, index).read(number - table.starts[index])
    for name, value in row.items():
        classes = table.class_names.get(name, ())
        if isinstance(value, int) and 0 <= value < len(classes):
            row[name] = classes[value]
    return row


@lru_cache(maxsize=2)
def _open_table(scheme: Scheme, container: str, version: FileStat) -> _Table:
    """Open a table, which stays open for its next rows: the list of its parts may be long."""
    with _damage_reported(scheme, container):
        schema, sizes, read_part = (_open_parquet if scheme == "parquet" else _open_arrow)(container)
    if twice := [name for name, count in Counter(schema.names).items() if count > 1]:
        raise MediaError(f"{container!r} has two columns {twice[0]!r:.100}; rename one")
    *starts, rows = accumulate(sizes, initial=0)
    features = _features(schema)
    class_names = {name: kind["names"] for name, kind in features.items() if isinstance(kind.get("names"), list)}
    return _Table(schema, starts, rows, class_names, read_part)


@lru_cache(maxsize=2)  # threads that read neighboring rows may need two parts
def _open_part(scheme: Scheme, container: str, version: FileStat, index: int) -> _Part:
    return _Part(scheme, container, _open_table(scheme, container, version), index)


class _Part:
    """A part of a table, of which only some rows are in memory."""

    def __init__(self, scheme: Scheme, container: str, table: _Table, index: int) -> None:
        self._scheme, self._container, self._table, self._index = scheme, container, table, index
        self._recent: deque[tuple[int, Any]] = deque(maxlen=4)  # the first row, and the rows
        self._batches: Iterator[Any] = iter(())

    def read(self, number: int) -> dict[str, Any]:
        """Return a row by its number in the part."""
        if not self._recent or number < self._recent[0][0]:
            self._recent.clear()
            self._batches = self._read_batches()
        while True:
            for start, batch in self._recent:
                if start <= number < start + len(batch):
                    row: dict[str, Any] = batch.slice(number - start, 1).to_pylist()[0]
                    return row
            start, batch = self._recent[-1] if self._recent else (0, ())
            self._recent.append((start + len(batch), next(self._batches)))

    def _read_batches(self) -> Iterator[Any]:
        with _damage_reported(self._scheme, self._container):
            yield from self._table.read_part(self._index)
        raise MissingRowsError(f"{self._container!r} is damaged: part {self._index} has fewer rows than it declares")


def _open_parquet(container: str) -> _Opened:
    file = open_parts(container)
    try:
        table = pa.parquet.ParquetFile(file)
    except BaseException:
        file.close()
        raise
    weakref.finalize(table, file.close)
    sizes = [table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)]
    return table.schema_arrow, sizes, lambda index: table.iter_batches(_BATCH_ROWS, [index])


def _open_arrow(container: str) -> _Opened:
    """Open an Arrow file, which is mapped into memory if it is on this machine."""
    opened: Any = open_parts(container) if is_url(container) else pa.memory_map(container)
    with opened as file:
        data = pa.py_buffer(file.read()) if is_url(container) else file.read_buffer()
    has_footer = data.slice(0, 6).to_pybytes() == b"ARROW1"
    reader = pa.ipc.open_file(data) if has_footer else pa.ipc.open_stream(data)
    batches = list(map(reader.get_batch, range(reader.num_record_batches)) if has_footer else reader)
    return reader.schema, [batch.num_rows for batch in batches], lambda index: [batches[index]]


@contextmanager
def _damage_reported(scheme: Scheme, container: str) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise MediaError(f"{container!r} is not a {scheme.capitalize()} file, or is truncated or damaged") from error


def _choose_columns(schema: Any, container: str, columns: Columns) -> dict[str, str]:
    """Return the column of images, and that of captions if there is one; raise InputError for a missing column."""
    described = ", ".join(f"{field.name} ({field.type})" for field in schema)[:1000]
    for name in (columns.image, columns.caption):
        if name is not None and name not in schema.names:
            raise InputError(f"{container!r} has no column {name!r}; its columns are {described}")
    if not (image := columns.image or _likely_image(schema)):
        raise InputError(
            f"{container!r} has no column of images; name one with `florence-rag index --image-column`: {described}"
        )
    texts = [field.name for field in schema if field.name != image and _holds_text(field.type)]
    caption = columns.caption or likely_caption(texts)
    return {"image": image, "caption": caption} if caption else {"image": image}


def _likely_image(schema: Any) -> str:
    """Return the column of bytes that Hugging Face declares, one with a likely name, or the only one; "" for none."""
    binary = [field.name for field in schema if _holds_bytes(field.type)]
    declared = [name for name, kind in _features(schema).items() if kind.get("_type") == "Image" and name in binary]
    structs = [name for name in binary if pa.types.is_struct(schema.field(name).type)]
    likely = [name for known in _IMAGE_NAMES for name in binary if name.lower() == known]
    candidates: list[str] = [*declared, *likely, *structs, *(binary if len(binary) == 1 else [])]
    return candidates[0] if candidates else ""


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return str(kind) in _BYTES


def _holds_text(kind: Any) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_text(kind.value_type)
    return str(kind) in _STRINGS


def _features(schema: Any) -> dict[str, Mapping[str, Any]]:
    """Return what Hugging Face datasets declare of the columns."""
    try:
        features = parse_json((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    items = features.items() if isinstance(features, dict) else ()
    return {name: kind for name, kind in items if isinstance(kind, dict)}
