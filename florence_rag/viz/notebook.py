"""Lets notebooks show hits, citations, answers and turns of a conversation as a gallery, on the last line of a cell."""

from __future__ import annotations

import sys
import weakref
from functools import partial
from typing import Any

from florence_rag.errors import FlorenceError
from florence_rag.types import Answer, Citation, Hit
from florence_rag.viz.gallery import Gallery
from florence_rag.viz.thumbnails import FrameProvider

_TURN = ("florence_rag.chat.turn", "Turn")


def show_in_notebook(rag: FrameProvider) -> None:
    """Register what IPython shows for results, with the images of this index; do nothing outside IPython."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    formatter: Any = shell.display_formatter.formatters["text/html"]
    to_html = partial(_to_html, weakref.ref(rag))
    for shown in (Hit, Citation, Answer, list):
        formatter.for_type(shown, to_html)
    formatter.for_type_by_name(*_TURN, to_html)


def _to_html(reference: weakref.ref[FrameProvider], result: Any) -> str | None:
    """Return a gallery; None, for which IPython prints the result, if it is something else or the index is closed."""
    rag, answer = reference(), result if isinstance(result, Answer) else getattr(result, "answer", None)
    results = [result] if isinstance(result, Hit | Citation) else result
    if isinstance(answer, Answer):
        results = answer.citations if answer is result else result.hits
    elif not results or not all(isinstance(each, Hit | Citation) for each in results):
        return None
    try:
        return None if rag is None else Gallery(rag, results, answer).html()
    except FlorenceError:
        return None
