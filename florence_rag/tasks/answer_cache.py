"""Caches the answers of a VQA model in the index, so that the same question about the same image is asked once.

    question, image -> cached? -> the cached answer and its origin
                    -> otherwise the model answers, and question, image and answer are embedded and stored

Vectors only find candidates. Whether two questions are the same is decided by their normalized words
(`question_normalization`), and whether two images are, by their pixels. An image that replaced another one at the same
location never gets the answers of the other.
"""

import base64
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TypeVar

import numpy as np
from PIL import Image

from florence_rag.context import LazyValue
from florence_rag.embedding.base import Embedder
from florence_rag.image_store import LoadFrames
from florence_rag.index.base import AnswerStore, CachedAnswer
from florence_rag.perception.base import VisualQA, VQAResult
from florence_rag.tasks.question_normalization import question_key
from florence_rag.types import Frame, Hit

NEAREST = 8
_CELLS = 32
_MAX_DIFFERENCE = 16  # of 255, between cells of near-duplicates; compression and scaling change less
_MAX_ENTRIES = 4096
_MAX_CHARACTERS = 2000

T = TypeVar("T")


class CachedVQA:
    """A VisualQA that asks its model only if the store has no answer of the model of this name.

    It is as thread-safe as its model. `counts` is the number of answers from the "cache" and from the "model".
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
        self.counts: Counter[str] = Counter()
        self._store = store
        self._embedder = embedder
        self._model = model
        self._now = now
        self._locations: dict[str, str] = {}
        self._vectors: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def locate(self, frames: Sequence[Frame], location: str) -> None:
        """Record where frames come from, and delete the answers about other images at that location."""
        for number, frame in enumerate(frames):
            image, where = image_digest(frame), f"{location}#{number}"
            if self._locations.get(image) != where:
                self._record(self._locations, image, where)
                self._store.delete_outdated(where, image)

    def locating(self, load_frames: LoadFrames) -> LoadFrames:
        """Return a function that loads the frames of a hit and records where they come from."""

        def load(hit: Hit) -> Sequence[Frame]:
            frames = load_frames(hit)
            self.locate(frames, location_of(hit))
            return frames

        return load

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Answer from the cache, in which case `cached_from` names the original question, or with the model."""
        key, image = question_key(question), image_digest(frame)
        if not key or len(question) > _MAX_CHARACTERS:
            return self.vqa.get().answer(frame, question)
        id = blake2b("\0".join((self._model, image, key)).encode(), digest_size=16).hexdigest()
        if stored := self._store.get(id):
            return self._from_cache(stored, "this image")
        vector, sample, location = self._vector(frame, question), image_sample(frame), self._locations.get(image, "")
        for each in self._store.nearest(vector, self._model, NEAREST):
            is_same = each.normalized_question == key and samples_agree(each.image_sample, sample)
            if is_same and (not location or each.location != location):
                return self._from_cache(each, "a near-duplicate image")
        result = self.vqa.get().answer(frame, question)
        self.counts["model"] += 1
        stored = CachedAnswer(
            id=id,
            model=self._model,
            location=location,
            image_digest=image,
            image_sample=sample,
            question=question,
            normalized_question=key,
            answer=result.answer,
            confidence=result.confidence,
            candidates=tuple(result.candidates),
            created_at=self._now().isoformat(timespec="seconds"),
        )
        self._store.put(stored, vector)
        return result

    def _from_cache(self, stored: CachedAnswer, about: str) -> VQAResult:
        self.counts["cache"] += 1
        origin = f"cached answer of {stored.created_at} to {stored.question!r} about {about}"
        return VQAResult(stored.answer, stored.confidence, stored.candidates, origin)

    def _vector(self, frame: Frame, question: str) -> np.ndarray:
        """Return the unit vector (2 D,) of question and image together."""
        image = image_digest(frame)
        image_vector = self._vectors.get(image)
        if image_vector is None:
            image_vector = self._embedder.embed_images([frame])[0]
            self._record(self._vectors, image, image_vector)
        question_vector = self._embedder.embed_texts([question])[0]
        return np.asarray(np.concatenate([question_vector, image_vector]) / np.sqrt(2), dtype=np.float32)

    def _record(self, entries: dict[str, T], image: str, value: T) -> None:
        """Add an entry about an image, and drop the oldest one if there are too many."""
        with self._lock:
            entries[image] = value
            if len(entries) > _MAX_ENTRIES:
                del entries[next(iter(entries))]


def location_of(hit: Hit) -> str:
    """Return where the frames of a hit are: equal for the regions of one image only."""
    return f"{hit.uri} {hit.locator.page} {hit.locator.part} {hit.locator.start_s}"


def image_digest(frame: Frame) -> str:
    """Return a digest of the pixels."""
    return blake2b(repr(frame.shape).encode() + np.ascontiguousarray(frame).tobytes(), digest_size=16).hexdigest()


def image_sample(frame: Frame) -> str:
    """Return the colors of 32 x 32 cells as Base64, which are enough to notice a change."""
    small = Image.fromarray(frame).resize((_CELLS, _CELLS), Image.Resampling.BOX)
    return base64.b64encode(np.asarray(small).tobytes()).decode()


def samples_agree(one: str, other: str) -> bool:
    """Return whether no cell differs by more than compression and scaling explain."""
    first, second = (np.frombuffer(base64.b64decode(each), np.uint8).astype(int) for each in (one, other))
    return bool(np.abs(first - second).max() <= _MAX_DIFFERENCE)
