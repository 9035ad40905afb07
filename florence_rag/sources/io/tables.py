"""Tables with a column of pictures: Parquet, and the Arrow files of Hugging Face datasets."""

from __future__ import annotations

import json
import os
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from itertools import accumulate
from typing import Any, BinaryIO
from urllib.parse import parse_qs, quote, urlencode

from florence_rag.errors import InputError, MediaError, MissingExtraError
from florence_rag.sources.io.containers import Version, open_container, version_to_cache
from florence_rag.sources.io.sidecar_metadata import (
    Columns,
    SidecarMetadata,
    caption_from,
    likely_caption,
    metadata_from,
)
from florence_rag.sources.io.uris import Item, Scheme, is_url

try:
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet
except ImportError as error:
    raise MissingExtraError("pyarrow", "remote") from error

_IMAGES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "image_bytes", "bytes", "content")
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class Layout:
    """Of one table, with its columns. caption: "" if there is none."""

    rows: int
    image: str
    caption: str


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """starts: the first row of each part that is read at once. classes: names of numbers, by column."""

    schema: Any
    starts: tuple[int, ...]
    rows: int
    classes: Mapping[str, list[str]]


def layout(scheme: Scheme, container: str, columns: Columns, *, again: bool = False) -> Layout:
    """How many rows there are and which columns matter. InputError lists the columns, where none holds pictures."""
    with _ONE_AT_A_TIME:
        if again:
            _part.cache_clear()
            _shape.cache_clear()
        shape = _shape(scheme, container, version_to_cache(container))
    image = _image_column(shape.schema, container, columns.image)
    return Layout(shape.rows, image, _caption_column(shape.schema, container, columns.caption, image))


def inner_of(row: int, layout: Layout) -> str:
    """What a row is called: with its columns, as they decide what is read of it."""
    said = {"row": row, "image": layout.image, **({"caption": layout.caption} if layout.caption else {})}
    return urlencode(said, quote_via=quote, safe="")


def open_item(item: Item) -> BinaryIO:
    """The bytes of the picture in a row, in memory."""
    number, image, _ = _parsed(item)
    cell = _row(item, number, image)[image]
    if isinstance(cell, Mapping):
        data, path = cell.get("bytes"), cell.get("path")
        if data is None and path:
            return _open_beside(item.container, str(path), number)
        cell = data
    if not isinstance(cell, bytes) or not cell:
        raise MediaError(f"row {number} of {item.container!r} holds no picture in its column {image!r}")
    return BytesIO(cell)


def facts_of_item(item: Item) -> SidecarMetadata:
    """The other columns of a row."""
    number, image, caption = _parsed(item)
    row = _row(item, number, image)
    others = {name: value for name, value in row.items() if name not in (image, caption)}
    return SidecarMetadata(caption_from(row.get(caption)), metadata_from(others))


def _open_beside(container: str, path: str, row: int) -> BinaryIO:
    """A table may say where a picture lies, but only below its own folder: it comes from strangers."""
    folder = os.path.dirname(container)
    place = os.path.realpath(os.path.join(folder, path))
    if is_url(container) or not place.startswith(os.path.realpath(folder) + os.sep) or not os.path.isfile(place):
        raise MediaError(f"row {row} of {container!r} holds only a path, {path!r:.200}, and no such file beside it")
    return open_container(place)


def _parsed(item: Item) -> tuple[int, str, str]:
    """Row, column of the picture, column of the caption or ""."""
    said = {name: values[-1] for name, values in parse_qs(item.inner).items()}
    if not said.get("row", "").isdecimal() or not said.get("image"):
        raise InputError(f"{item.uri!r} names no row; write {item.scheme}:{item.container}#row=0&image=COLUMN")
    return int(said["row"]), said["image"], said.get("caption", "")


def _row(item: Item, number: int, image: str) -> dict[str, Any]:
    with _ONE_AT_A_TIME:
        version = version_to_cache(item.container)
        shape = _shape(item.scheme, item.container, version)
        if number >= shape.rows or image not in shape.schema.names:
            raise InputError(f"{item.container!r} has no row {number} with a column {image!r}; index it again")
        index = bisect_right(shape.starts, number) - 1
        part = _part(item.scheme, item.container, version, index)
    (row,) = part.slice(number - shape.starts[index], 1).to_pylist()
    return {name: _named(value, shape.classes.get(name)) for name, value in row.items()}


@lru_cache(maxsize=16)
def _shape(scheme: Scheme, container: str, version: Version) -> _Shape:
    with _opened(scheme, container) as table:
        if scheme == "parquet":
            schema = table.schema_arrow
            sizes = [table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)]
        else:
            schema, sizes = table[0], [batch.num_rows for batch in table[1]]
    *starts, rows = accumulate(sizes, initial=0)
    return _Shape(schema, tuple(starts), rows, _class_names(schema))


@lru_cache(maxsize=2)
def _part(scheme: Scheme, container: str, version: Version, index: int) -> Any:
    """A row group of Parquet, a batch of Arrow. Neighbouring rows are read at the same time, hence two."""
    with _opened(scheme, container) as table:
        return table.read_row_group(index) if scheme == "parquet" else pa.Table.from_batches([table[1][index]])


@contextmanager
def _opened(scheme: Scheme, container: str) -> Iterator[Any]:
    """A Parquet file, or the schema and the batches of an Arrow file, which are mapped, not read."""
    try:
        if scheme == "parquet":
            with open_container(container) as file, pa.parquet.ParquetFile(file) as table:
                yield table
        elif is_url(container):
            with open_container(container) as file:
                yield _arrow(pa.py_buffer(file.read()))
        else:
            with pa.memory_map(container) as mapped:
                yield _arrow(mapped.read_buffer())
    except (pa.ArrowException, OSError) as error:
        raise MediaError(f"{container!r} is no {scheme.capitalize()} file, or cut off or damaged") from error


def _arrow(data: Any) -> tuple[Any, list[Any]]:
    if data.slice(0, 6).to_pybytes() == b"ARROW1":
        reader = pa.ipc.open_file(data)
        return reader.schema, [reader.get_batch(i) for i in range(reader.num_record_batches)]
    stream = pa.ipc.open_stream(data)
    return stream.schema, list(stream)


def _image_column(schema: Any, container: str, wanted: str | None) -> str:
    """The named one; or what Hugging Face declares; or structs and bytes with a likely name; or the only bytes."""
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    if wanted is not None:
        if wanted not in schema.names:
            raise InputError(f"{container!r} has no column {wanted!r}; its columns are {columns:.1000}")
        return wanted
    holding = [field.name for field in schema if _holds_bytes(field.type)]
    declared = [name for name, kind in _features(schema).items() if kind.get("_type") == "Image" and name in holding]
    structs = [name for name in holding if pa.types.is_struct(schema.field(name).type)]
    likely = [name for known in _IMAGES for name in holding if name.lower() == known]
    only = holding if len(holding) == 1 else []
    found: list[str] = [*declared, *likely, *structs, *only]
    if found:
        return found[0]
    raise InputError(f"{container!r} has no column of pictures; name one with --image-column: {columns:.1000}")


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _caption_column(schema: Any, container: str, wanted: str | None, image: str) -> str:
    if wanted is not None and wanted not in schema.names:
        raise InputError(f"{container!r} has no column {wanted!r}; its columns are {', '.join(schema.names):.1000}")
    if wanted is not None:
        return wanted
    return likely_caption(field.name for field in schema if field.name != image and _holds_text(field.type))


def _holds_text(kind: Any) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _features(schema: Any) -> dict[str, Mapping[str, Any]]:
    """What Hugging Face says of the columns."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {name: kind for name, kind in features.items() if isinstance(kind, dict)} if features else {}


def _class_names(schema: Any) -> dict[str, list[str]]:
    return {name: kind["names"] for name, kind in _features(schema).items() if isinstance(kind.get("names"), list)}


def _named(value: Any, names: list[str] | None) -> Any:
    """The name of a class in place of its number."""
    return names[value] if names and isinstance(value, int) and 0 <= value < len(names) else value
