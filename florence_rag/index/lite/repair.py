"""Finishes what a kill of Milvus Lite has cut short, in a folder that is locked and not yet read."""

from __future__ import annotations

import shutil
from pathlib import Path

from milvus_lite.exceptions import ManifestCorruptedError
from milvus_lite.storage.manifest import Manifest

from florence_rag.errors import StoreCorruptError

_NOTE = ".dropping-"


def drop_note(path: Path, collection: str) -> Path:
    """The file that says, while it is there, that the collection is being deleted."""
    return path / f"{_NOTE}{collection}"


def repair(path: Path) -> None:
    """Mend all collections of the database."""
    for note in path.glob(f"{_NOTE}*"):
        folder = path / "collections" / note.name.removeprefix(_NOTE)
        if folder.is_dir():
            shutil.rmtree(folder)
        note.unlink()
    for folder in sorted((path / "collections").iterdir()):
        if (folder / "schema.json").exists():
            _drop_flushed_logs(folder, path)
        elif folder.is_dir():
            _drop_half_made(folder, path)


def _drop_flushed_logs(folder: Path, path: Path) -> None:
    """Between the end of a flush and the deletion of its log both hold the same rows, which Lite then finds twice."""
    try:
        active = Manifest.load(str(folder)).active_wal_number or 0
    except ManifestCorruptedError as error:
        raise StoreCorruptError(f"{folder} has lost its manifest.json; restore {path} from a copy") from error
    for log in (folder / "wal").glob("wal_*_*.arrow"):
        if int(log.stem.rpartition("_")[2]) < active:
            log.unlink()


def _drop_half_made(folder: Path, path: Path) -> None:
    """In place of a folder without a schema no collection can be made."""
    if any(each.is_dir() for each in folder.iterdir()):
        raise StoreCorruptError(f"{folder} has lost its schema.json; restore {path} from a copy, or delete it")
    shutil.rmtree(folder)
