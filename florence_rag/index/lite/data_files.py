"""Reads the Parquet files and the write-ahead logs of Milvus Lite, and what is intact of damaged ones."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from florence_rag.errors import first_line

SEQUENCE = "_seq"
"""The column with the sequence numbers: each write gets the next one, so the row with the largest is the newest."""

UNVERIFIED = (SEQUENCE, "bm25", "$meta")
"""The columns that the checksum of a row does not cover."""

MISSING = "is missing"

_MARKER = b"\xff\xff\xff\xff"  # before each message of an Arrow stream, at a multiple of 8
_EXCEPTIONS = (OSError, ValueError, KeyError, MemoryError, pa.ArrowException)


class UnreadableError(Exception):
    """A file cannot be read; the message ends the sentence "The file ..."."""


@dataclass(frozen=True, slots=True)
class Footer:
    """The summary at the end of a Parquet file. first, last: its smallest and largest sequence number."""

    rows: int
    first: int
    last: int
    columns: pa.Schema


@dataclass(slots=True)
class Log:
    """The rows of a write-ahead log. problem: damage that a kill cannot cause, or ""."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    problem: str = ""

    @property
    def sequence(self) -> list[int]:
        """The sequence numbers of the rows."""
        return [number for batch in self.batches for number in batch.column(SEQUENCE).to_pylist()]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(batch.num_rows for batch in self.batches)


def read_footer(path: Path, *, thorough: bool = False) -> Footer:
    """Return the summary of a Parquet file; `thorough` also verifies the checksum of each page.

    Raises:
        UnreadableError: If the file is damaged.
        PermissionError: If this process may not read it.
    """
    with _reading():
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if thorough:
            for group in range(file.num_row_groups):
                file.read_row_group(group)
        return _footer(file)


def _footer(file: pq.ParquetFile) -> Footer:
    columns, metadata = file.schema_arrow, file.metadata
    leaves = [metadata.schema.column(each).path for each in range(metadata.num_columns)]
    if SEQUENCE not in leaves:
        raise UnreadableError("has no sequence numbers, so that it is not a file of this database")
    rows = 0
    bounds: list[int] = []
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        rows += group.num_rows
        column = group.column(leaves.index(SEQUENCE))  # referenced, because its statistics do not keep it alive
        statistics = column.statistics
        bounds += [statistics.min, statistics.max] if statistics is not None and statistics.has_min_max else []
    if not rows or rows != metadata.num_rows or len(bounds) != 2 * metadata.num_row_groups:
        raise UnreadableError("has a damaged footer")
    return Footer(rows, min(bounds), max(bounds), columns)


def read_rows(file: Path | pa.Buffer, is_intact: Callable[[Mapping[str, Any]], bool]) -> tuple[list[pa.Table], int]:
    """Return the intact rows of a Parquet file, and the number of damaged ones.

    Args:
        file: The file, or its content.
        is_intact: Verifies a row of a damaged page by its own checksum, which covers all columns but `UNVERIFIED`.
    """
    tables, lost = [], 0
    with _reading():
        groups = _open(file, page_checksum_verification=True)
        sizes = [groups.metadata.row_group(group).num_rows for group in range(groups.num_row_groups)]
    for group, size in enumerate(sizes):
        try:
            with _reading():
                table = groups.read_row_group(group)
                table.validate(full=True)
        except UnreadableError:
            table = _verified_rows(file, group, is_intact)
        tables += [table] if table is not None else []
        lost += size - (table.num_rows if table is not None else 0)
    return tables, lost


def _open(file: Path | pa.Buffer, **options: bool) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(file) if isinstance(file, pa.Buffer) else file, **options)


def _verified_rows(
    file: Path | pa.Buffer, group: int, is_intact: Callable[[Mapping[str, Any]], bool]
) -> pa.Table | None:
    """Return the rows of a damaged row group whose own checksums fit; None if there can be none."""
    checked = _open(file, page_checksum_verification=True)
    with suppress(UnreadableError), _reading():
        checked.read_row_group(group, [name for name in UNVERIFIED if name in checked.schema_arrow.names])
        table = _open(file).read_row_group(group)
        return table.filter([_is_intact(table, row, is_intact) for row in range(table.num_rows)])
    return None


def _is_intact(table: pa.Table, row: int, is_intact: Callable[[Mapping[str, Any]], bool]) -> bool:
    with suppress(UnreadableError), _reading():
        return is_intact(table.slice(row, 1).to_pylist()[0])
    return False


def read_log(path: Path, columns: pa.Schema | None) -> Log:
    """Return the rows of a write-ahead log, also those behind damage.

    A kill tears the last write apart, or leaves an empty file. That is no damage: the write was not acknowledged.

    Args:
        path: The log.
        columns: The columns that it must have; None if they are unknown.

    Raises:
        UnreadableError: If the file cannot be read at all.
    """
    with _reading():
        data = pa.py_buffer(path.read_bytes())
    log, position = Log(), 0
    while position < data.size:
        try:
            with _reading():
                message, after = _message(data, position)
                if message.type == "schema":
                    found = pa.ipc.read_schema(message)
                    if columns is not None and not found.equals(columns):
                        return Log(problem="has the columns of another collection")
                    columns = found
                else:
                    log.batches.append(_batch(message, columns))
            position = after
        except EOFError:  # the mark that ends a stream
            position += 8
        except UnreadableError as error:
            following = _next_batch(data, position + 8, columns)
            if following is not None or not _is_torn(data, position, str(error)):
                log.problem = f"is damaged at byte {position} of {data.size}"
            position = data.size if following is None else following
    return log


@contextmanager
def _reading() -> Iterator[None]:
    """Map the many exceptions of damaged files to UnreadableError."""
    try:
        yield
    except (UnreadableError, PermissionError, EOFError):
        raise
    except FileNotFoundError as error:
        raise UnreadableError(MISSING) from error
    except IsADirectoryError as error:
        raise UnreadableError("is a folder") from error
    except _EXCEPTIONS as error:
        raise UnreadableError(f"cannot be read ({first_line(error)})") from error


def _message(data: pa.Buffer, position: int) -> tuple[pa.ipc.Message, int]:
    reader = pa.BufferReader(data)
    reader.seek(position)
    return pa.ipc.read_message(reader), reader.tell()


def _batch(message: pa.ipc.Message, columns: pa.Schema | None) -> pa.RecordBatch:
    if columns is None:
        raise UnreadableError("has lost its columns")
    batch = pa.ipc.read_record_batch(message, columns)
    batch.validate(full=True)
    if not batch.num_rows:
        raise UnreadableError("has an empty write")
    return batch


def _next_batch(data: pa.Buffer, start: int, columns: pa.Schema | None) -> int | None:
    """Return the position of the next intact batch of rows."""
    content: bytes = data.to_pybytes()
    position = start
    while (position := content.find(_MARKER, position)) >= 0:
        with suppress(UnreadableError, EOFError), _reading():
            if position % 8 == 0:
                _batch(_message(data, position)[0], columns)
                return position
        position += 1
    return None


def _is_torn(data: pa.Buffer, position: int, problem: str) -> bool:
    """Return whether the data end before the message does, or hold zeros, as a power failure leaves them."""
    rest = data[position : position + 8].to_pybytes()
    if len(rest) < 8 or not any(data[position:].to_pybytes()):
        return True
    marker, length = rest[:4], struct.unpack("<i", rest[4:])[0]
    return marker == _MARKER and (position + 8 + length > data.size or "Expected to be able to read" in problem)
