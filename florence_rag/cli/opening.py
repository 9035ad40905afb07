"""Opens the database for a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from florence_rag.cli.screen import notes

if TYPE_CHECKING:
    from florence_rag.pipeline import FlorenceRAG


@contextmanager
def opened(db: str, model: str | None = None, **options: Any) -> Iterator[FlorenceRAG]:
    """FlorenceRAG.open, closed at the end; a terminal shows that models are loading, which takes seconds."""
    with notes().status("Loading the models"):
        from florence_rag.pipeline import FlorenceRAG

        rag = FlorenceRAG.open(db, model, **options)
    with rag:
        yield rag
