"""Repairs damaged collections of a Milvus Lite database, and sets aside what Milvus Lite would delete.

Each row carries the sequence number of its write. Therefore the newest version of every row follows from whatever files
can still be read, without a manifest. `repair` writes these rows into one new Parquet file and then a manifest that
names it; that write is the moment at which the collection is whole again. The files that were there before are kept
in the folder `set-aside`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from milvus_lite.index.spec import IndexSpec
from milvus_lite.schema.arrow_builder import build_data_schema
from milvus_lite.schema.persistence import save_schema
from milvus_lite.storage.data_file import write_data_file
from milvus_lite.storage.manifest import Manifest

from florence_rag.errors import StoreUnavailableError
from florence_rag.index.address import LOCK
from florence_rag.index.checksum import DAMAGED
from florence_rag.index.lite import checksums
from florence_rag.index.lite.data_files import MISSING, SEQUENCE, UnreadableError, read_log, read_rows
from florence_rag.index.lite.footers import with_kept_footer
from florence_rag.index.lite.integrity import (
    COLLECTIONS,
    FOREIGN,
    LOST_WRITES,
    MANIFEST,
    SCHEMA,
    CollectionFiles,
    Damage,
    data_files,
    inspect_readable,
    logs,
    misplaced,
    read_manifest,
    verdict,
    writes_in,
)
from florence_rag.index.lite.known_schemas import known_schema
from florence_rag.index.lite.lock import locked
from florence_rag.index.rows import Row

SET_ASIDE = "set-aside"
_PARTITION = "_default"
_EXCHANGED = ".exchanged"
"""The suffix of a folder whose place is made free for another; a repair that is cut short leaves it to the next."""


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair found and did.

    Attributes:
        damage: The damaged files, and the folders that were renamed.
        rows: The number of rows in each repaired collection.
        lost: One line for each file of which rows, or deletions of rows, could not be read.
        set_aside: The folder that holds the files that were replaced; None if none were.
    """

    damage: tuple[Damage, ...] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    set_aside: Path | None = None


class SetAside:
    """The dated folder below `set-aside` to which files are moved instead of being deleted."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.folder = database / SET_ASIDE / datetime.now().strftime("%Y-%m-%dT%H-%M-%S-%f")

    def move(self, path: Path) -> None:
        """Move a file or folder of the database here."""
        path.rename(self._place(path))

    def clear(self, path: Path) -> None:
        """Copy a file that will be replaced here; move a folder or link that is in its place."""
        if path.is_file() and not path.is_symlink():
            shutil.copy2(path, self._place(path))
        elif os.path.lexists(path):
            self.move(path)

    def write(self, name: str, rows: Iterable[Row]) -> None:
        """Write rows to a file of JSON lines here, if there are any."""
        for row in rows:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / name).open("ab") as file:
                file.write(msgspec.json.encode(row, enc_hook=np.ndarray.tolist) + b"\n")

    def _place(self, path: Path) -> Path:
        place = self.folder / path.relative_to(self._database)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


@dataclass(slots=True)
class _Remains:
    """What can be read of a collection.

    deletes: the sequence number of the last deletion of an id. numbers: the sequence numbers of all readable writes.
    """

    rows: list[pa.Table] = field(default_factory=list)
    deletes: dict[str, int] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)


def repair(database: Path) -> RepairReport:
    """Repair the damaged collections of a database that nobody has open; nothing is deleted.

    Raises:
        StoreUnavailableError: If there is no database, if this process may not write it, or if the disk is full.
        StoreLockedError: If it is open.
    """
    if (database / LOCK).is_dir():
        SetAside(database).move(database / LOCK)
    with locked(database):
        try:
            return _repair(database)
        except OSError as error:
            raise StoreUnavailableError(
                f"{database} cannot be repaired ({error.strerror or error}); nothing is lost, repair it again later"
            ) from error


def _repair(database: Path) -> RepairReport:
    checksums.install()
    renamed = tuple(_put_back(database))
    damaged = [files for files in inspect_readable(database, thorough=True) if files.damage]
    if not damaged:
        return RepairReport(renamed)
    aside = SetAside(database)
    rows: dict[str, int] = {}
    lost: list[str] = []
    for files in damaged:
        remains = _read(files)
        lost += remains.lost
        kept = _rewrite(files, remains, aside)
        if kept is None:
            lost.append(f"the collection {files.folder.name}: nothing in it could be read")
        else:
            rows[files.folder.name] = kept
    damage = tuple(damage for files in damaged for damage in files.damage)
    return RepairReport(renamed + damage, rows, tuple(lost), aside.folder)


def _put_back(database: Path) -> Iterator[Damage]:
    """Rename folders of collections that were renamed or exchanged, and yield what was wrong."""
    while folders := misplaced(database):
        folder = next((folder for folder, place in folders.items() if not os.path.lexists(place)), None)
        if folder is not None:
            place = folders[folder]
            yield Damage(f"{COLLECTIONS}/{folder.name}", f"is the collection {place.name!r}, under another name")
            folder.rename(place)
        elif exchanged := [each for each, place in folders.items() if place in folders and each.suffix != _EXCHANGED]:
            exchanged[0].rename(exchanged[0].with_name(exchanged[0].name + _EXCHANGED))
        else:  # copies of collections that are there
            return


def read_set_aside(database: Path, name: str) -> Iterator[list[Row]]:
    """Yield the rows of each file that `SetAside.write` wrote under a name, newest first, without damaged lines."""
    for path in sorted((database / SET_ASIDE).glob(f"*/{name}"), reverse=True):
        rows = []
        for line in path.read_bytes().splitlines():
            with suppress(msgspec.MsgspecError, UnicodeDecodeError):
                rows.append(msgspec.json.decode(line, type=Row))
        yield rows


def set_strays_aside(database: Path, collections: Iterable[CollectionFiles]) -> list[Path]:
    """Move the files that no manifest names out of the collections, because Milvus Lite would delete them."""
    aside = SetAside(database)
    strays = [path for files in collections for path in files.strays]
    for path in strays:
        aside.move(path)
    return strays


def _read(files: CollectionFiles) -> _Remains:
    """Read all rows and deletions, of any version, from all files of a collection."""
    remains = _Remains()
    skipped = set(files.strays) if files.manifest_is_sound else set()
    present = {*data_files(files.folder), *logs(files.folder)} - skipped
    for path in sorted(present):
        is_data = path.parent.name == "data" or path.name.startswith("wal_data")
        name = path.relative_to(files.folder.parents[1]).as_posix()
        try:
            tables, problem = _tables(path, files)
        except UnreadableError as error:
            tables, problem = [], str(error)
        if problem:
            effect = "its rows are lost" if is_data else "rows that it deleted may be back"
            remains.lost.append(f"{name} {problem}: {effect}")
        for table in tables:
            remains.numbers.update(table.column(SEQUENCE).to_pylist())
            if is_data:
                remains.rows.append(table)
            else:
                _add_deletes(remains.deletes, table)
    for damage in files.damage:
        if damage.problem == LOST_WRITES:
            remains.lost.append(f"{damage}: rows that they wrote or deleted may be lost or back")
    missing = [damage for damage in files.damage if damage.problem == MISSING and damage.file.endswith(".parquet")]
    if not _has_foreign_manifest(files, missing, remains.numbers):
        remains.lost += [f"{damage}: its rows or deletions are lost" for damage in missing]
    return remains


def _has_foreign_manifest(files: CollectionFiles, missing: Sequence[Damage], numbers: Collection[int]) -> bool:
    """Return whether the manifest is that of another collection, so that the files that it names were never here.

    Otherwise, no other file holds the first and the last write of a missing file.
    """
    ranges = [writes_in(Path(damage.file)) for damage in missing]
    return (
        any(damage.problem == FOREIGN for damage in files.damage)
        or any(each is not None and each[0] in numbers and each[1] in numbers for each in ranges)
        or _is_copy_of_another(files, len(ranges))
    )


def _is_copy_of_another(files: CollectionFiles, missing: int) -> bool:
    """Return whether another collection has the same manifest, which two have by chance only after very few writes."""
    here, manifest = set(data_files(files.folder)), files.folder / MANIFEST
    if not here or not manifest.is_file() or (missing < 2 and not here <= set(files.strays)):
        return False
    others = (path for path in files.folder.parent.glob(f"*/{MANIFEST}*") if path.parent != files.folder)
    return any(path.is_file() and path.read_bytes() == manifest.read_bytes() for path in others)


def _tables(path: Path, files: CollectionFiles) -> tuple[list[pa.Table], str]:
    """Return the rows of a file, and what is wrong with it, or ""."""
    if path.suffix == ".arrow":
        log = read_log(path, files.columns(path))
        if not log.batches:
            return [], log.problem
        written = pa.Table.from_batches(log.batches)
        whole = written.filter([verdict(row) not in DAMAGED for row in written.to_pylist()])
        changed = f"has {written.num_rows - whole.num_rows} changed rows" if whole.num_rows < written.num_rows else ""
        return [whole] if whole.num_rows else [], " and ".join(filter(None, [log.problem, changed]))
    try:
        files.footer(path)
        content = None
    except UnreadableError:
        if (content := with_kept_footer(path)) is None:
            raise
    tables, lost = read_rows(content or path, lambda row: verdict(row) == "intact")
    return tables, f"has {lost} unreadable rows" if lost else ""


def _add_deletes(deletes: dict[str, int], table: pa.Table) -> None:
    ids = next(name for name in table.column_names if not name.startswith("_"))
    for id, number in zip(table.column(ids).to_pylist(), table.column(SEQUENCE).to_pylist(), strict=True):
        deletes[id] = max(number, deletes.get(id, -1))


def _rewrite(files: CollectionFiles, remains: _Remains, aside: SetAside) -> int | None:
    """Write the newest rows as the whole collection and return their number; None if its columns are unknown."""
    folder = files.folder
    tables = [table.select([name for name in table.column_names if name != "_partition"]) for table in remains.rows]
    known = (known_schema(folder.name, table.schema) for table in tables)
    schema = files.schema or next(filter(None, known), None)
    if schema is None:
        aside.move(folder)
        return None
    replaced = [*data_files(folder), *logs(folder), *folder.glob("partitions/*/indexes/*")]
    columns = build_data_schema(schema)
    rows = _newest([table for table in tables if table.schema.equals(columns)], remains.deletes, columns)
    aside.clear(folder / SCHEMA)
    save_schema(schema, folder.name, str(folder / SCHEMA))
    _write_manifest(files, rows, _last_sequence(remains), aside)
    for path in replaced:
        aside.move(path)
    return int(rows.num_rows)


def _newest(tables: list[pa.Table], deletes: Mapping[str, int], columns: pa.Schema) -> pa.Table:
    """Return the newest version of each row that was not deleted after it."""
    table = pa.concat_tables([columns.empty_table(), *tables])
    ids, numbers = table.column("id").to_pylist(), table.column(SEQUENCE).to_pylist()
    newest: dict[str, int] = {}
    for position, (id, number) in enumerate(zip(ids, numbers, strict=True)):
        if id not in newest or number > numbers[newest[id]]:
            newest[id] = position
    kept = [position for id, position in newest.items() if deletes.get(id, -1) <= numbers[position]]
    found = table.take(pa.array(kept, pa.int64()))
    return found.take(pc.sort_indices(found, sort_keys=[(SEQUENCE, "ascending")]))


def _last_sequence(remains: _Remains) -> int:
    numbers: list[int] = [pc.max(table.column(SEQUENCE)).as_py() for table in remains.rows if table.num_rows]
    return max([0, *numbers, *remains.deletes.values()])


def _write(rows: pa.Table, folder: Path) -> list[str]:
    """Write a Parquet file under a name that no file has; the second number may be larger than the last in it."""
    if not rows.num_rows:
        return []
    numbers = pc.min_max(rows.column(SEQUENCE)).as_py()
    partition = folder / "partitions" / _PARTITION
    last = numbers["max"]
    while any((partition / "data").glob(f"data_*_{last:06d}.parquet")):
        last += 1
    return [write_data_file(rows, str(partition), numbers["min"], last)]


def _write_manifest(files: CollectionFiles, rows: pa.Table, sequence: int, aside: SetAside) -> None:
    folder = files.folder
    manifest = Manifest(str(folder))
    for name in _write(rows, folder):
        manifest.add_data_file(_PARTITION, name)
    manifest.current_seq = sequence
    manifest.active_wal_number = 1 + max([0, *(int(path.stem.rpartition("_")[2]) for path in logs(folder))])
    for spec in _index_specs(files, rows.column_names):
        manifest.set_index_spec(spec)
    for name in (MANIFEST, f"{MANIFEST}.prev", f"{MANIFEST}.tmp"):
        aside.clear(folder / name)
    manifest.save()


def _index_specs(files: CollectionFiles, fields: Collection[str]) -> list[IndexSpec]:
    """Return the indexes over these fields that the manifest knows, or the one before it if it is damaged."""
    for name in (MANIFEST, f"{MANIFEST}.prev") if files.manifest_is_sound else (f"{MANIFEST}.prev", MANIFEST):
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            specs = read_manifest(files.folder / name).index_specs
            return [spec for field, spec in specs.items() if field in fields]
    return []
