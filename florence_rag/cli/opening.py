"""Opens the database for a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from florence_rag.cli.screen import notes, plain

if TYPE_CHECKING:
    from florence_rag.models.acceleration import Backend, Precision
    from florence_rag.pipeline import FlorenceRAG


@contextmanager
def opened(
    db: str,
    model: str | None = None,
    *,
    offline: bool = False,
    precision: Precision | None = None,
    backend: Backend = "torch",
    **options: Any,
) -> Iterator[FlorenceRAG]:
    """FlorenceRAG.open, closed at the end; a terminal shows that models are loading, which takes seconds.

    What is about to be fetched is told first, with its size and licence.
    """
    with notes().status("Loading the models"):
        from florence_rag.pipeline import FlorenceRAG
        from florence_rag.pipeline.access import Access

        access = replace(
            Access.from_environment(offline=offline, announce=tell_download), precision=precision, backend=backend
        )
        rag = FlorenceRAG.open(db, model, access=access, **options)
    with rag:
        yield rag


def tell_download(what: str) -> None:
    """Before the first byte."""
    notes().print(plain(f"Fetching {what}", "bold"))
