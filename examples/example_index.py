"""The arguments of an example, and its index: of a folder, of a database that exists, or of the demo corpus."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from florence_rag import FlorenceRAG
from florence_rag.datasets.demo_corpus import copy_demo_corpus


def index_parser(description: str | None, files: str) -> argparse.ArgumentParser:
    """Return a parser of the arguments of `open_index`: a folder and a database. `files` says what is in the folder."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help=f"{files} (default: the demo corpus)")
    parser.add_argument("--db", type=Path, help="the database, which is kept (default with a folder: florence.db)")
    return parser


@contextmanager
def open_index(
    folder: Path | None, db: Path | None, *, model: str | None = None, demo: str = "photos"
) -> Iterator[FlorenceRAG]:
    """Open the database with what is new in the folder; without a folder and a database, with the demo corpus.

    Args:
        folder: The files.
        db: The database.
        model: The embedder of a new database; by default that of `FlorenceRAG.open`.
        demo: The folder of the demo corpus: "photos", "videos" or "documents".
    """
    with tempfile.TemporaryDirectory() as scratch:
        is_demo = folder is None and not (db and db.exists())
        if is_demo:
            corpus = db.with_suffix(".corpus") if db else Path(scratch)
            copy_demo_corpus(corpus)
            folder, db = corpus / demo, db or corpus / "demo.db"
        model = model or ("florence-tiny" if is_demo else None)  # None: the default, or what the database records
        with FlorenceRAG.open(db or "florence.db", model, ocr="never" if is_demo else "auto") as rag:
            if folder:
                rag.add(folder)  # skips what is indexed already
            yield rag
