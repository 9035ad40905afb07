"""Lets notebooks show results as a gallery on the last line of a cell, and the progress of indexing."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from florence_rag.errors import FlorenceError
from florence_rag.types import Answer, Citation, Hit
from florence_rag.viz.gallery import Gallery
from florence_rag.viz.thumbnails import FrameProvider

_TURN = ("florence_rag.chat.turn", "Turn")


def show_in_notebook(rag: FrameProvider) -> None:
    """Register what IPython shows for results, with the images of this index; do nothing outside IPython."""
    shell = _shell()
    if shell is None:
        return
    formatter: Any = shell.display_formatter.formatters["text/html"]
    to_html = partial(_to_html, weakref.ref(rag))
    for shown in (Hit, Citation, Answer, list):
        formatter.for_type(shown, to_html)
    formatter.for_type_by_name(*_TURN, to_html)


class _Progress(Protocol):
    """The progress of an index run, such as `florence_rag.ingest.progress.Progress`."""

    @property
    def files_done(self) -> int: ...
    @property
    def files_total(self) -> int: ...
    @property
    def chunks(self) -> int: ...
    @property
    def failures(self) -> int: ...
    @property
    def task(self) -> str: ...


def progress_in_notebook() -> Callable[[_Progress], None] | None:
    """Return what shows the progress of a run in the current cell; None outside notebooks."""
    shell = _shell()
    if getattr(shell, "kernel", None) is None:  # a terminal
        return None
    handle = import_module("IPython.display").display({"text/plain": "looking for files"}, raw=True, display_id=True)

    def report(step: _Progress) -> None:
        failed = f", {step.failures} failed" if step.failures else ""
        line = "words of " if step.task == "words" else ""
        line += f"{step.files_done} of {step.files_total} files, {step.chunks} chunks{failed}"
        handle.update({"text/plain": line}, raw=True)

    return report


def _shell() -> Any:
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def _to_html(reference: weakref.ref[FrameProvider], result: Any) -> str | None:
    """Return a gallery; None, for which IPython prints the result, if it is something else or the index is closed."""
    rag, answer = reference(), result if isinstance(result, Answer) else getattr(result, "answer", None)
    results = [result] if isinstance(result, Hit | Citation) else result
    if isinstance(answer, Answer):
        results = answer.citations if answer is result else result.hits or answer.citations  # of a given image
    elif not results or not all(isinstance(each, Hit | Citation) for each in results):
        return None
    try:
        return None if rag is None else Gallery(rag, results, answer).html()
    except FlorenceError:
        return None
