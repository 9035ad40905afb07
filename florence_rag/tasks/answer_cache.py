"""Who looks at pictures for an index: its model, or that model with a memory beside the index."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from florence_rag.context import Context, LazyValue, loaded
from florence_rag.errors import InputError
from florence_rag.index.base import AnswerStore
from florence_rag.perception.base import VisualQA
from florence_rag.tasks.cached_vqa import CachedVQA
from florence_rag.types import Frame, Hit


class AnswerCache:
    """Chooses between the VQA model of an index and a cache of its answers in the index.

    Args:
        context: The index and its models.
        always: Whether answers are cached unless a call says otherwise.
    """

    def __init__(self, context: Context, *, always: bool = False) -> None:
        self._context = context
        self._always = always
        self._lock = threading.Lock()
        self._opened: tuple[object, object, CachedVQA] | None = None

    def looking(self, cache_answers: bool | None) -> tuple[LazyValue[VisualQA], Callable[[Hit], tuple[Frame, ...]]]:
        """What answers, and what reads the pictures of a hit for it."""
        vqa = self._context.models.require_vqa()
        if not (self._always if cache_answers is None else cache_answers):
            return vqa, self._context.images.frames
        memory = self._remembering(vqa)

        def frames(hit: Hit) -> tuple[Frame, ...]:
            read = self._context.images.frames(hit)
            memory.place(read, place_of(hit))
            return read

        return loaded(memory), frames

    def looking_at(self, hit: Hit, frames: Sequence[Frame], cache_answers: bool | None) -> VisualQA:
        """What answers about the pictures of a hit, which are read already."""
        vqa = self.looking(cache_answers)[0].get()
        if isinstance(vqa, CachedVQA) and hit.id:
            vqa.place(frames, place_of(hit))
        return vqa

    def _remembering(self, vqa: LazyValue[VisualQA]) -> CachedVQA:
        """One for as long as model and embedder stay the same."""
        embedder = self._context.models.embedder
        with self._lock:
            if self._opened is None or self._opened[:2] != (vqa, embedder):
                memory = CachedVQA(vqa, self._store(), embedder, vqa.name or type(vqa.get()).__name__)
                self._opened = vqa, embedder, memory
            return self._opened[2]

    def _store(self) -> AnswerStore:
        answers = getattr(self._context.index, "answer_store", None)
        if answers is None:
            raise InputError(f"{type(self._context.index).__name__} cannot remember answers; leave remember out")
        store: AnswerStore = answers()
        return store


def place_of(hit: Hit) -> str:
    """Where its pictures are: the same for the regions of one image, another for each page and clip."""
    return f"{hit.uri} {hit.locator.page} {hit.locator.start_s}"
