"""Who looks at pictures for an index: its model, or that model with a memory beside the index."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from florence_rag.errors import InputError
from florence_rag.index.base import AnswerStore
from florence_rag.perception.base import VisualQA
from florence_rag.tasks.cached_vqa import CachedVQA
from florence_rag.types import Frame, Hit

if TYPE_CHECKING:
    from florence_rag.rag import FlorenceRAG


class AnswerCache:
    """Of one index. name: of the model whose answers are remembered. always: whether it does, unless told not to."""

    def __init__(self, rag: FlorenceRAG, name: str, *, always: bool = False) -> None:
        self._rag = rag
        self._named = (rag.vqa, name)
        self._always = always
        self._lock = threading.Lock()
        self._opened: tuple[object, object, CachedVQA] | None = None

    def looking(self, cache_answers: bool | None) -> tuple[VisualQA, Callable[[Hit], tuple[Frame, ...]]]:
        """What answers, and what reads the pictures of a hit for it."""
        vqa = self._rag.require_vqa()
        if not (self._always if cache_answers is None else cache_answers):
            return vqa, self._rag.frames
        memory = self._remembering(vqa)

        def frames(hit: Hit) -> tuple[Frame, ...]:
            read = self._rag.frames(hit)
            memory.place(read, place_of(hit))
            return read

        return memory, frames

    def looking_at(self, hit: Hit, frames: Sequence[Frame], cache_answers: bool | None) -> VisualQA:
        """What answers about the pictures of a hit, which are read already."""
        vqa, _ = self.looking(cache_answers)
        if isinstance(vqa, CachedVQA) and hit.id:
            vqa.place(frames, place_of(hit))
        return vqa

    def _remembering(self, vqa: VisualQA) -> CachedVQA:
        """One for as long as model and embedder stay the same."""
        embedder = self._rag.embedder
        with self._lock:
            if self._opened is None or self._opened[:2] != (vqa, embedder):
                name = self._named[1] if vqa is self._named[0] else ""
                memory = CachedVQA(vqa, self._store(), embedder, name or type(vqa).__name__)
                self._opened = vqa, embedder, memory
            return self._opened[2]

    def _store(self) -> AnswerStore:
        answers = getattr(self._rag.index, "answer_store", None)
        if answers is None:
            raise InputError(f"{type(self._rag.index).__name__} cannot remember answers; leave remember out")
        store: AnswerStore = answers()
        return store


def place_of(hit: Hit) -> str:
    """Where its pictures are: the same for the regions of one image, another for each page and clip."""
    return f"{hit.uri} {hit.locator.page} {hit.locator.start_s}"
