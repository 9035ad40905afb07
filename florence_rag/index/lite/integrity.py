"""Finds damage in the folder of a Milvus Lite database, before Milvus Lite sees it.

Milvus Lite takes the manifest of a collection, or the one before it, at its word: it deletes each Parquet file that the
manifest does not name, and ignores each file that it cannot find. This module reads the manifest, the schema, the
footers of the Parquet files and the write-ahead logs, and compares them with each other. It writes nothing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from milvus_lite.exceptions import MilvusLiteError
from milvus_lite.index.spec import IndexSpec
from milvus_lite.schema.arrow_builder import (
    build_data_schema,
    build_delta_schema,
    build_wal_data_schema,
    build_wal_delta_schema,
)
from milvus_lite.schema.persistence import load_schema
from milvus_lite.schema.types import CollectionSchema
from milvus_lite.schema.validation import validate_schema
from milvus_lite.storage.manifest import MANIFEST_FORMAT_VERSION

from florence_rag.errors import DamagedDatabaseError, StoreCorruptError, StoreError, StoreUnavailableError, first_line
from florence_rag.index.checksum import DAMAGED, Verdict, verify
from florence_rag.index.lite.data_files import MISSING, Footer, Log, UnreadableError, read_footer, read_log
from florence_rag.index.lite.known_schemas import is_same_schema, known_schema
from florence_rag.index.lite.lock import locked

COLLECTIONS = "collections"
MANIFEST = "manifest.json"
SCHEMA = "schema.json"
LOST_WRITES = "has lost writes between others"
FOREIGN = "belongs to another collection"


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged file. file: relative to the folder of the database. problem: ends the sentence "The file ..."."""

    file: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file} {self.problem}"


@dataclass(frozen=True, slots=True)
class ManifestRecord:
    """What a manifest says. files: the Parquet files that hold the collection, relative to its folder."""

    sequence: int
    active_log: int
    files: frozenset[str]
    index_specs: Mapping[str, IndexSpec]


@dataclass(slots=True)
class CollectionFiles:
    """The files of one collection, as far as they can be read.

    Attributes:
        folder: Its folder.
        damage: Its damaged files.
        schema: Its schema, if it can be read.
        manifest: Its manifest; None if it cannot be read, or if there is none yet.
        parquet: The summaries of the readable Parquet files.
        strays: Files that the manifest does not name.
        logs: The write-ahead logs.
    """

    folder: Path
    damage: list[Damage] = field(default_factory=list)
    schema: CollectionSchema | None = None
    manifest: ManifestRecord | None = None
    parquet: dict[Path, Footer] = field(default_factory=dict)
    strays: list[Path] = field(default_factory=list)
    logs: dict[Path, Log] = field(default_factory=dict)

    @property
    def flushed_logs(self) -> list[Path]:
        """The logs whose rows are in Parquet files: a kill came before they were deleted."""
        manifest = self.manifest
        return [path for path in self.logs if manifest is not None and _number(path) < manifest.active_log]

    @property
    def manifest_is_sound(self) -> bool:
        """Whether the Parquet files that the manifest does not name are no part of the collection."""
        doubts = (
            damage.file.endswith(MANIFEST) or "/wal" in damage.file or damage.problem == MISSING
            for damage in self.damage
        )
        return self.manifest is not None and not any(doubts)

    @property
    def rows(self) -> int:
        """The number of readable rows, in all their versions."""
        data = sum(footer.rows for path, footer in self.parquet.items() if path.parent.name == "data")
        return data + sum(log.rows for path, log in self.logs.items() if path.name.startswith("wal_data"))

    def report(self, path: Path, problem: str) -> None:
        """Record damage of a file."""
        self.damage.append(Damage(path.relative_to(self.folder.parents[1]).as_posix(), problem))

    def footer(self, path: Path, *, thorough: bool = False) -> Footer:
        """Return the summary of a Parquet file, or raise UnreadableError if it is damaged or of another collection."""
        footer, columns = read_footer(path, thorough=thorough), self.columns(path)
        if columns is not None and not footer.columns.equals(columns):
            raise UnreadableError("has the columns of another collection")
        writes = writes_in(path)
        if writes is None or writes[0] != footer.first or footer.last > writes[1]:
            raise UnreadableError("has the rows of another file")
        return footer

    def columns(self, path: Path) -> pa.Schema | None:
        """Return the columns that the schema gives a data file or log."""
        if self.schema is None:
            return None
        builders = {
            "data": build_data_schema,
            "delta": build_delta_schema,
            "wal_data": build_wal_data_schema,
            "wal_delta": build_wal_delta_schema,
        }
        return builders[path.name.rpartition("_")[0] if path.suffix == ".arrow" else path.parent.name](self.schema)


def writes_in(file: Path) -> tuple[int, int] | None:
    """Return the sequence numbers of the first and last write in a Parquet file, as its name says."""
    numbers = re.fullmatch(r"(?:data|delta)_(\d+)_(\d+)\.parquet", file.name)
    return (int(numbers[1]), int(numbers[2])) if numbers else None


def inspect(database: Path, *, thorough: bool = False) -> list[CollectionFiles]:
    """Read the files of all collections. thorough: verify the checksum of each page of the Parquet files."""
    folders = sorted((database / COLLECTIONS).iterdir()) if (database / COLLECTIONS).is_dir() else []
    return [_inspect_collection(folder, thorough) for folder in folders if "." not in folder.name]


def inspect_readable(database: Path, *, thorough: bool = False) -> list[CollectionFiles]:
    """Return what `inspect` returns, or raise StoreUnavailableError if this process may not or cannot read a file."""
    try:
        for path in database.rglob("*"):
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise StoreUnavailableError(
                    f"{path} is a pipe, a socket or a device; move it away, and repair {database}"
                )
        return inspect(database, thorough=thorough)
    except PermissionError as error:
        raise StoreUnavailableError(
            f"{error.filename} cannot be read ({error.strerror}); give it to this user"
        ) from error


def find_damage(database: Path, *, thorough: bool = False) -> list[Damage]:
    """Return the damaged files of a database that nobody has open; `thorough` reads all Parquet files whole.

    Raises:
        StoreUnavailableError: If there is no database, or if this process may not read it.
        StoreLockedError: If it is open.
    """
    with locked(database):
        return [damage for files in inspect_readable(database, thorough=thorough) for damage in files.damage]


def check(collections: Sequence[CollectionFiles], database: Path) -> None:
    """Raise DamagedDatabaseError if any file of the collections is damaged."""
    if damage := [str(damage) for files in collections for damage in files.damage]:
        raise DamagedDatabaseError(str(database), damage, sum(files.rows for files in collections))


def damage_error(database: Path, error: StoreError) -> StoreCorruptError:
    """Return the error for a closed database that Milvus Lite could not read: it names what the check missed."""
    try:
        with locked(database):
            check(inspect_readable(database, thorough=True), database)
    except StoreCorruptError as damaged:
        return damaged
    except StoreError:
        pass
    return StoreCorruptError(f"{error}; repair it with: florence-rag repair --db {database}")


def data_files(folder: Path) -> list[Path]:
    """Return the Parquet files of a collection, and whatever lies among them."""
    return [path for kind in ("data", "delta") for path in sorted(folder.glob(f"partitions/*/{kind}/*"))]


def logs(folder: Path) -> list[Path]:
    """Return the write-ahead logs of a collection."""
    return sorted(folder.glob("wal/wal_*_*.arrow"))


def _inspect_collection(folder: Path, thorough: bool) -> CollectionFiles:
    files = CollectionFiles(folder)
    if not folder.is_dir():
        files.report(folder, "is not a folder")
        return files
    if not is_begun(folder):
        return files
    _read_schema(files)
    _read_manifest(files)
    _read_parquet(files, thorough)
    _read_logs(files)
    _compare_sequences(files)
    return files


def is_begun(folder: Path) -> bool:
    """Return whether a folder holds a collection; a kill can leave one with nothing but temporary files."""
    return any(path.is_file() and path.suffix != ".tmp" for path in folder.rglob("*"))


def _read_schema(files: CollectionFiles) -> None:
    path = files.folder / SCHEMA
    try:
        name, schema = load_schema(str(path))
        validate_schema(schema)
    except PermissionError:
        raise
    except FileNotFoundError:
        files.report(path, MISSING)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, MilvusLiteError) as error:
        files.report(path, f"is not a schema ({first_line(error):.200})")
    else:
        if name != files.folder.name:
            files.report(path, f"belongs to the collection {name!r:.80}")
        elif not _fits_rows(schema, name, _columns_on_disk(files.folder)):
            files.report(path, "is not the schema of the rows")
        else:
            files.schema = schema


def misplaced(database: Path) -> dict[Path, Path]:
    """Return the folders of collections that were renamed, and where they belong, as their schemas and rows say."""
    found = {}
    for folder in (database / COLLECTIONS).glob("*/"):
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, MilvusLiteError):
            name, schema = load_schema(str(folder / SCHEMA))
            validate_schema(schema)
            is_renamed = name != folder.name and re.fullmatch(r"\w+", name)  # the name may be forged
            if is_renamed and build_data_schema(schema) == _columns_on_disk(folder):
                found[folder] = folder.with_name(name)
    return found


def _fits_rows(schema: CollectionSchema, name: str, found: pa.Schema | None) -> bool:
    """Return whether a schema is the one that this package gives the columns that most Parquet files have.

    Files with columns of other names belong to another collection, and say nothing about a schema that is known.
    """
    own = build_data_schema(schema)
    known = known_schema(name, own)
    if found is not None and (known is None or found.names == own.names):
        known = known_schema(name, found)
    return known is None or is_same_schema(schema, known)


def _columns_on_disk(folder: Path) -> pa.Schema | None:
    """Return the columns that most Parquet files of a collection have, if there are any."""
    found: Counter[pa.Schema] = Counter()
    for path in folder.glob("partitions/*/data/*.parquet"):
        with suppress(UnreadableError):
            found[read_footer(path).columns.remove_metadata()] += 1
    return found.most_common(1)[0][0] if found else None


def _read_manifest(files: CollectionFiles) -> None:
    path = files.folder / MANIFEST
    try:
        files.manifest = read_manifest(path)
    except PermissionError:
        raise
    except FileNotFoundError:
        if data_files(files.folder) or Path(f"{path}.prev").exists():  # the first flush writes it
            files.report(path, MISSING)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        files.report(path, f"is not a manifest ({first_line(error):.200})")
    if (
        files.manifest
        and files.schema
        and files.manifest.index_specs.keys() - {each.name for each in files.schema.fields}
    ):
        files.report(path, FOREIGN)


def read_manifest(path: Path) -> ManifestRecord:
    """Return what a manifest says, or raise an error if any part that matters is not as Milvus Lite writes it."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["manifest_format_version"] != MANIFEST_FORMAT_VERSION:
        raise ValueError(f"its format has the version {record['manifest_format_version']!r:.20}")
    numbers = record["current_seq"], record["active_wal_number"] or 0
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("a number is wrong")
    named = [
        f"partitions/{partition}/{name}"
        for partition, by_kind in record["partitions"].items()
        for kind in ("data_files", "delta_files")
        for name in by_kind[kind]
    ]
    specs = {spec.field_name: spec for spec in map(IndexSpec.from_dict, record["index_specs"].values())}
    return ManifestRecord(*numbers, frozenset(named), specs)


def _read_parquet(files: CollectionFiles, thorough: bool) -> None:
    """Read the summaries of all Parquet files, and report named files that are missing or do not fit."""
    named = files.manifest.files if files.manifest else frozenset()
    present = [path for path in data_files(files.folder) if not path.is_dir()]
    missing = {files.folder / name for name in named} - set(present)
    files.strays += [path for path in files.folder.glob("partitions/*/indexes/*") if path.is_dir()]
    for path in [*sorted(missing), *present]:
        is_named = path in missing or path.relative_to(files.folder).as_posix() in named
        if not is_named:
            files.strays.append(path)
        try:
            files.parquet[path] = files.footer(path, thorough=thorough)
        except UnreadableError as error:
            if is_named:
                files.report(path, str(error))


def _read_logs(files: CollectionFiles) -> None:
    for path in logs(files.folder):
        try:
            log = files.logs[path] = read_log(path, files.columns(path))
            changed = sum(verdict(row) in DAMAGED for batch in log.batches for row in batch.to_pylist())
            if log.problem or changed:
                files.report(path, log.problem or f"has {changed} changed rows")
        except UnreadableError as error:
            files.report(path, str(error))


def verdict(stored: Mapping[str, Any]) -> Verdict:
    """Compare a stored row with its checksum, if it has one."""
    if "checksum" not in stored:
        return "unknown"
    try:
        return verify({**stored, **{name: json.loads(stored[name]) for name in ("locator", "metadata")}})
    except ValueError:
        return "content"


def _compare_sequences(files: CollectionFiles) -> None:
    """Report gaps between the sequence numbers of the manifest, the Parquet files and the logs.

    Each write gets the next number. Therefore the numbers of the logs continue those of the manifest without a gap.
    """
    if files.damage or files.manifest is None:
        return
    known = files.manifest.sequence
    flushed = set(files.flushed_logs)
    late = sorted({number for path, log in files.logs.items() if path not in flushed for number in log.sequence})
    for path, footer in files.parquet.items():
        if footer.last > known and (path not in files.strays or footer.last not in late):
            files.report(files.folder / MANIFEST, f"is older than {path.relative_to(files.folder).as_posix()}")
            return
    if any(number > known for path in flushed for number in files.logs[path].sequence) or (late and late[0] <= known):
        files.report(files.folder / MANIFEST, "does not fit the write-ahead logs")
    elif any(b - a > 1 for a, b in zip([known, *late], late, strict=False)):
        files.report(files.folder / "wal", LOST_WRITES)


def _number(log: Path) -> int:
    return int(log.stem.rpartition("_")[2])
