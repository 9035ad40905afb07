"""Damage files of Milvus Lite databases, and count what `florence-rag repair` restores.

    python benchmarks/reliability/damage.py --flips 20

Databases with one or several data files, with and without deleted rows, closed or killed, are damaged file by file:
truncated, emptied, removed, replaced by a file of another collection, a folder or a link, and with one bit flipped.
After each damage the database is opened and, if that is refused, repaired. The table counts the outcomes. An outcome
fails if rows are lost or changed without a report, if opening removes a byte of row data, or if a repair does not
restore every row of the files that were not damaged.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from workload import Result

from florence_rag.errors import FlorenceError
from florence_rag.index.address import Address
from florence_rag.index.base import CachedAnswer
from florence_rag.index.lite.connection import LiteConnection
from florence_rag.index.lite.repair import repair
from florence_rag.index.milvus import MilvusIndex
from florence_rag.types import Chunk, EmbedderInfo, Locator, Source, item_uri

DIMENSION = 8
EMBEDDER = EmbedderInfo("random", "0" * 16, DIMENSION, "none")
Rows = dict[tuple[str, str], str]
"""The rows of all collections, as JSON, by collection and id."""


def unit(rows: int, seed: int, dimension: int = DIMENSION) -> np.ndarray:
    """Return random unit vectors, (rows, dimension) float32."""
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def put(index: MilvusIndex, name: str, rows: int) -> None:
    """Store a file with so many passages, and an item with the same name."""
    for source in (Source(f"/files/{name}", "text", 1, 1, name), Source(item_uri(name), "text", 1, 1, name)):
        index.begin(source)
        chunks = [Chunk(source, "text", Locator(span=(i, i + 1)), text=f"{name} {i}") for i in range(rows)]
        index.add(chunks, unit(rows, rows))
        index.complete(source)


def fill(database: Path, *, parts: int, deletes: bool, killed: bool, index_type: str = "FLAT") -> None:
    """Write a database. parts: data files per collection. killed: leave the last writes in the logs."""
    working = database.with_suffix(".working.db")
    with MilvusIndex.open(str(working), EMBEDDER, index_type=index_type) as index:
        for part in range(parts):
            put(index, f"part{part}", 40)
            put(index, f"gone{part}", 5)
            index.flush()
        index.answer_store().put(_answer(), unit(1, 0, 2 * DIMENSION)[0])
        if deletes:
            index.delete_sources([f"/files/gone{part}" for part in range(parts)])
        put(index, "last", 30)
        index.flush_buffer()
        if killed:
            shutil.copytree(working, database)
    if not killed:
        shutil.copytree(working, database)
    shutil.rmtree(working)


def _answer() -> CachedAnswer:
    return CachedAnswer("a", "m", "/x", "d", "s", "What?", "what", "A bus", 0.5, (("A car", 0.1),), "2026-01-01")


def read(database: Path) -> Rows:
    """Return all rows, or raise FlorenceError."""
    with closing(LiteConnection.start(Address.parse(str(database)), create=False)) as connection:
        found: Rows = {}
        with connection.mapped_errors():
            names = connection.client.list_collections()
            for name in names:
                connection.client.load_collection(name)
        for name in names:
            fields = [field["name"] for field in connection.describe(name)["fields"] if field["name"] != "bm25"]
            for row in connection.rows(name, fields):
                found[name, row["id"]] = json.dumps(row, sort_keys=True, default=str)
        return found


def ids_of(path: Path) -> set[tuple[str, str]]:
    """Return the rows that an intact data file or log holds, in any version."""
    if "_data_" not in path.name and path.parent.name != "data":
        return set()
    if path.suffix == ".parquet":
        ids = pq.read_table(path, columns=["id"]).column("id").to_pylist()
    else:
        with pa.OSFile(str(path)) as file:
            ids = [id for batch in pa.ipc.open_stream(file) for id in batch.column("id").to_pylist()]
    return {(path.relative_to(database_of(path)).parts[1], id) for id in ids}


def database_of(path: Path) -> Path:
    """Return the folder of the database that holds a file."""
    return next(parent for parent in path.parents if parent.suffix == ".db")


def damages(database: Path, flips: int, seed: int) -> Iterator[tuple[str, Path, Callable[[Path], None]]]:
    """Yield the name of a damage, the file that it damages, and a function that damages it."""
    pick = random.Random(seed)
    for path in sorted(path for path in database.rglob("*") if path.is_file()):
        size = path.stat().st_size
        yield "removed", path, Path.unlink
        yield "replaced by a folder", path, lambda file: (file.unlink(), file.mkdir())
        yield "replaced by a link to nowhere", path, lambda file: (file.unlink(), file.symlink_to("nowhere"))
        if not size:
            continue
        yield "emptied", path, lambda file: file.write_bytes(b"")
        for share in (0.1, 0.5, 0.9, 1 - 1 / size):
            cut = int(size * share)
            yield "truncated", path, lambda file, cut=cut: file.write_bytes(file.read_bytes()[:cut])
        for other in _others(path):
            yield "replaced by that of another collection", path, lambda file, other=other: shutil.copy(other, file)
        for _ in range(flips):
            bit = pick.randrange(8 * size)
            yield "flipped bit", path, lambda file, bit=bit: _flip(file, bit)


def _others(path: Path) -> Iterator[Path]:
    """Yield the files of the same kind of other collections."""
    collection = (
        path.relative_to(database_of(path)).parts[1] if len(path.relative_to(database_of(path)).parts) > 2 else ""
    )
    kind = path.name.partition("_0")[0]
    for other in sorted((database_of(path) / "collections").glob(f"*/**/{kind}*")):
        if other.is_file() and other.relative_to(database_of(path)).parts[1] != collection and collection:
            yield other


def _flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def data_bytes(database: Path) -> Counter[bytes]:
    """Return the contents of all Parquet files, wherever they lie. Closing a database moves rows from logs to them."""
    return Counter(path.read_bytes() for path in database.rglob("*.parquet") if path.is_file())


class Judge:
    """Damages copies of one database and judges the outcomes."""

    def __init__(self, database: Path, folder: Path) -> None:
        self.database, self._folder = database, folder
        self.before = read(Path(shutil.copytree(database, folder / "before.db")))
        self.ids = {path.relative_to(database): ids_of(path) for path in database.rglob("*") if path.is_file()}

    def judge(self, path: Path, damage: Callable[[Path], Any]) -> tuple[str, str]:
        """Return the outcome of one damage, and the reason if it is a fault, or ""."""
        name = path.relative_to(self.database)
        copy = Path(shutil.copytree(self.database, self._folder / "copy.db", symlinks=True))
        try:
            damage(copy / name)
            held = data_bytes(copy)
            try:
                found = read(copy)
            except FlorenceError:
                if held - data_bytes(copy):
                    return "refused", "opening removed row data"
                return self._judge_repair(copy, name)
            return self._judge_opened(copy, name, found, held)
        finally:
            shutil.rmtree(copy)

    def _judge_opened(self, copy: Path, name: Path, found: Rows, held: Counter[bytes]) -> tuple[str, str]:
        if found == self.before:
            return "harmless", ""
        if name.suffix == ".arrow" and name.parts[1] != "florence":
            return "opened without the last writes to the ledger or the cache, as after a kill", ""
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                with MilvusIndex.open(str(copy), EMBEDDER, create=False):
                    pass
            except FlorenceError as error:
                return "opened, then refused", "" if name.suffix == ".arrow" else str(error)
        outcome = "opened, with a warning about missing rows" if warned else "opened, without a warning"
        return outcome, "" if warned else f"differs silently: {_difference(self.before, found)}"

    def _judge_repair(self, copy: Path, name: Path) -> tuple[str, str]:
        try:
            report = repair(copy)
            found = read(copy)
        except FlorenceError as error:
            return "refused", f"not repaired: {error}"
        if found == self.before:
            return "repaired, nothing lost", ""
        lost = self.before.keys() - found.keys()
        if any(found[key] != self.before[key] for key in found.keys() & self.before.keys()):
            return "repaired", f"changed rows: {_difference(self.before, found)}"
        if not lost <= self.ids[name]:
            return "repaired", f"{len(lost - self.ids[name])} rows of other files lost"
        return "repaired, with a report of lost rows or deletions", "" if report.lost else "the report names no loss"


def _difference(before: Mapping[Any, str], after: Mapping[Any, str]) -> str:
    changed = [key for key in before.keys() & after.keys() if before[key] != after[key]]
    return f"{len(before.keys() - after.keys())} lost, {len(after.keys() - before.keys())} new, {len(changed)} changed"


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "closed, one file": {"parts": 0, "deletes": False, "killed": False},
    "closed, three files, deletes": {"parts": 2, "deletes": True, "killed": False},
    "killed, three files, deletes": {"parts": 2, "deletes": True, "killed": True},
    "killed, only logs": {"parts": 0, "deletes": False, "killed": True},
    "closed, HNSW": {"parts": 1, "deletes": True, "killed": False, "index_type": "HNSW"},
}


def main(
    flips: Annotated[int, typer.Option(help="Bits that are flipped in each file, one at a time.")] = 3,
    every: Annotated[int, typer.Option(min=1, help="Try only one of so many damages.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the positions.")] = 0,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")] = None,
) -> None:
    """Try all damages, and print how often each outcome was right."""
    with Result().reported(output) as result, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for variant, options in VARIANTS.items():
            database = Path(folder) / "variant.db"
            fill(database, **options)
            judge = Judge(database, Path(folder))
            for damage, path, apply in islice(damages(database, flips, seed), 0, None, every):
                outcome, fault = judge.judge(path, apply)
                described = f"{variant}: {path.relative_to(database)} {damage}: {fault}"
                result.add(f"damaged file: {outcome}", [described] if fault else [])
            for path in (database, Path(folder) / "before.db"):
                shutil.rmtree(path)
            print(f"{variant}: {sum(result.tried.values())} so far", flush=True)


if __name__ == "__main__":
    typer.run(main)
