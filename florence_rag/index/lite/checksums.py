"""Adds checksums to the files of Milvus Lite, which it reads without noticing that a byte has changed.

Parquet has checksums of pages, which Milvus Lite does not ask for: `install` asks for them. The file of a FLAT index
only repeats the vectors of a Parquet file, so it is not written. The files of other indexes get a checksum next to
them, and are built again if it does not fit.
"""

import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from milvus_lite.index.brute_force import BruteForceIndex
from milvus_lite.storage import data_file, delta_file
from milvus_lite.storage.segment import Segment

from florence_rag.index.lite.footers import keep_footer

ROWS_PER_GROUP = 1000
"""Rows that are lost together when a byte of a Parquet file changes."""

_build_or_load_index = Segment.build_or_load_index


def install() -> None:
    """Make Milvus Lite write and verify checksums, in this process."""
    parquet = SimpleNamespace(read_table=_read_table, write_table=_write_table)
    data_file.pq = delta_file.pq = parquet
    BruteForceIndex.save = lambda index, path: None
    Segment.build_or_load_index = _build_or_load_checked_index


def _write_table(table: Any, path: str) -> None:
    # Vectors hardly shrink, and in plain form a changed byte leaves the other vectors readable.
    vectors = {field.name for field in table.schema if isinstance(field.type, pa.FixedSizeListType)}
    others = [name for name in table.column_names if name not in vectors]
    compression = dict.fromkeys(others, "snappy") | {f"{name}.list.element": "none" for name in vectors}
    pq.write_table(
        table,
        path,
        row_group_size=ROWS_PER_GROUP,
        write_page_checksum=True,
        use_dictionary=others,
        compression=compression,
    )
    keep_footer(Path(path))


def _read_table(path: str) -> Any:
    return pq.read_table(path, page_checksum_verification=True)


def _build_or_load_checked_index(segment: Segment, spec: Any, index_dir: str) -> None:
    path = Path(segment.index_file_path(index_dir, spec.index_type, spec.field_name))
    checksum = path.with_name(f"{path.name}.crc32")
    if path.is_file() and (not checksum.is_file() or checksum.read_bytes() != _checksum(path)):
        path.unlink()
        checksum.unlink(missing_ok=True)
    _build_or_load_index(segment, spec, index_dir)
    if path.is_file() and not checksum.is_file():
        checksum.write_bytes(_checksum(path))


def _checksum(path: Path) -> bytes:
    return b"%08x" % zlib.crc32(path.read_bytes())
