"""A VisualQA that remembers: what was asked before about the same picture, or one as good as the same, is not asked
again.

    question, picture -> known? -> the answer, and where it comes from
                      -> else the model is asked, and question, picture and answer are embedded and stored

Vectors only bring near ones up; that they are the same is checked, on the words of the question (questions.py) and on
the pixels of the picture. A picture that took the place of another at the same place never gets the answers of that.
"""

from __future__ import annotations

import base64
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import blake2b

import numpy as np
from PIL import Image

from florence_rag.context import LazyValue
from florence_rag.embedding.base import Embedder
from florence_rag.index.base import AnswerStore, CachedAnswer
from florence_rag.perception.base import VisualQA, VQAResult
from florence_rag.tasks.question_normalization import question_key
from florence_rag.types import Frame

NEAREST = 8
_CELLS = 32
_APART = 16  # of 255, between cells of pictures that count as one; compression and scaling change less
_PLACES = 4096
_MOST_CHARACTERS = 2000


class CachedVQA:
    """As the VisualQA in it, which it asks only what it cannot know. Threads may share it, if they may share that.

    model: whose answers these are; those of another are not used. asked: how often it knew, and how often it did not.
    now: tells the time.
    """

    def __init__(
        self,
        vqa: LazyValue[VisualQA],
        store: AnswerStore,
        embedder: Embedder,
        model: str,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.vqa = vqa
        self.asked: Counter[str] = Counter()
        self._store = store
        self._embedder = embedder
        self._model = model
        self._now = now
        self._places: OrderedDict[str, str] = OrderedDict()
        self._vectors: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def place(self, frames: Sequence[Frame], place: str) -> None:
        """Tell where pictures are from. What was remembered of others there is forgotten: they have changed."""
        for number, frame in enumerate(frames):
            picture, where = picture_digest(frame), f"{place}#{number}"
            with self._lock:
                is_known = self._places.get(picture) == where
                self._places[picture] = where
                while len(self._places) > _PLACES:
                    self._places.popitem(last=False)
            if not is_known:
                self._store.delete_outdated(where, picture)

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """From memory, and then `remembered` says from where; or from the model."""
        key, picture = question_key(question), picture_digest(frame)
        if not key or len(question) > _MOST_CHARACTERS:
            return self.vqa.get().answer(frame, question)
        id = blake2b("\0".join((self._model, picture, key)).encode(), digest_size=16).hexdigest()
        if known := self._store.get(id):
            return self._known(known, "this picture")
        vector, sample = self._vector(frame, question), picture_sample(frame)
        place = self._places.get(picture, "")
        if found := self._same(vector, key, sample, place):
            return self._known(found, "a picture that looks the same")
        said = self.vqa.get().answer(frame, question)
        self.asked["model"] += 1
        at = self._now().isoformat(timespec="seconds")
        facts = (said.answer, said.confidence, tuple(said.candidates))
        self._store.put(CachedAnswer(id, self._model, place, picture, sample, question, key, *facts, at), vector)
        return said

    def _same(self, vector: np.ndarray, key: str, sample: str, place: str) -> CachedAnswer | None:
        near = self._store.nearest(vector, self._model, NEAREST)
        same = (each for each in near if each.key == key and samples_agree(each.sample, sample))
        return next((each for each in same if not place or each.place != place), None)

    def _known(self, found: CachedAnswer, about: str) -> VQAResult:
        self.asked["memory"] += 1
        origin = f"remembered from {found.at}, when {found.question!r} was asked about {about}"
        return VQAResult(found.answer, found.confidence, found.candidates, origin)

    def _vector(self, frame: Frame, question: str) -> np.ndarray:
        """(2 D,): of the question and of the picture, of unit length together."""
        picture = picture_digest(frame)
        seen = self._vectors.get(picture)
        if seen is None:
            seen = self._embedder.embed_images([frame])[0]
            with self._lock:
                self._vectors[picture] = seen
                while len(self._vectors) > _PLACES:
                    self._vectors.popitem(last=False)
        said = self._embedder.embed_texts([question])[0]
        return np.asarray(np.concatenate([said, seen]) / np.sqrt(2), dtype=np.float32)


def picture_digest(frame: Frame) -> str:
    """Of its pixels."""
    return blake2b(repr(frame.shape).encode() + np.ascontiguousarray(frame).tobytes(), digest_size=16).hexdigest()


def picture_sample(frame: Frame) -> str:
    """The colours of 32 x 32 cells, as Base64: enough to see that something changed."""
    small = Image.fromarray(frame).resize((_CELLS, _CELLS), Image.Resampling.BOX)
    return base64.b64encode(np.asarray(small).tobytes()).decode()


def samples_agree(one: str, other: str) -> bool:
    """Whether no cell differs by more than compression and scaling explain."""
    first, second = (np.frombuffer(base64.b64decode(each), np.uint8).astype(int) for each in (one, other))
    return bool(np.abs(first - second).max() <= _APART)
