"""Opens the index of an example: that of a folder, of a database that exists, or of the demo corpus."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from florence_rag import FlorenceRAG
from florence_rag.datasets.demo_corpus import copy_demo_corpus


@contextmanager
def open_index(folder: Path | None, db: Path | None) -> Iterator[FlorenceRAG]:
    """Open the database with what is new in the folder; without a folder and a database, with the demo corpus."""
    with tempfile.TemporaryDirectory() as scratch:
        is_demo = folder is None and not (db and db.exists())
        if is_demo:
            corpus = db.with_suffix(".corpus") if db else Path(scratch)
            copy_demo_corpus(corpus)
            folder, db = corpus / "photos", db or corpus / "demo.db"
        model = "florence-tiny" if is_demo else None  # the default model, or the one that the database records
        with FlorenceRAG.open(db or "florence.db", model, ocr="never" if is_demo else "auto") as rag:
            if folder:
                rag.add(folder)  # skips what is indexed already
            yield rag
