"""Finishes what a kill of Milvus Lite has cut short, in a folder that is locked and not yet read."""

from __future__ import annotations

import shutil
from pathlib import Path

from florence_rag.errors import StoreCorruptError
from florence_rag.index.lite.internals import collection_folder, collection_folders, flushed_logs, has_schema

_NOTE = ".dropping-"


def drop_note(path: Path, collection: str) -> Path:
    """Return the file whose presence says that the collection is being deleted."""
    return path / f"{_NOTE}{collection}"


def repair(path: Path) -> None:
    """Repair all collections of the database."""
    for note in path.glob(f"{_NOTE}*"):
        folder = collection_folder(path, note.name.removeprefix(_NOTE))
        if folder.is_dir():
            shutil.rmtree(folder)
        note.unlink()
    for folder in collection_folders(path):
        if has_schema(folder):
            # Between the end of a flush and the deletion of its log both hold the same rows, and Lite finds them twice.
            for log in flushed_logs(folder, path):
                log.unlink()
        else:
            _drop_half_made(folder, path)


def _drop_half_made(folder: Path, path: Path) -> None:
    """Delete a folder without a schema, which would prevent the collection from being created."""
    if any(each.is_dir() for each in folder.iterdir()):
        raise StoreCorruptError(f"{folder} has lost its schema.json; restore {path} from a copy, or delete it")
    shutil.rmtree(folder)
