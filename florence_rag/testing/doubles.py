"""Models that know colours and nothing else, and models that say what they are told to."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from florence_rag.embedding.base import EmbedderCapabilities, unit_rows
from florence_rag.errors import InputError
from florence_rag.perception.base import TextRegion, VQAResult
from florence_rag.tokenize import words
from florence_rag.types import EmbedderInfo, Frame

COLORS: Mapping[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (139, 69, 19),
    "green": (0, 160, 0),
    "grey": (128, 128, 128),
    "orange": (255, 140, 0),
    "pink": (255, 150, 190),
    "purple": (128, 0, 128),
    "red": (255, 0, 0),
    "white": (255, 255, 255),
    "yellow": (255, 255, 0),
}


def color_frame(*colors: str, size_px: int = 48) -> Frame:
    """A square picture of equally wide vertical stripes, to search and to ask."""
    stripes = np.array([COLORS[color] for color in colors], dtype=np.uint8)
    columns = stripes[np.arange(size_px) * len(colors) // size_px]
    return np.ascontiguousarray(np.broadcast_to(columns, (size_px, size_px, 3)))


def color_shares(frame: Frame) -> np.ndarray:
    """(11,): the share of the picture's pixels that lie nearest to each of COLOURS."""
    pixels = frame[:: max(1, len(frame) // 64), :: max(1, frame.shape[1] // 64)].reshape(-1, 3).astype(np.float32)
    palette = np.array(list(COLORS.values()), dtype=np.float32)
    nearest = np.linalg.norm(pixels[:, None] - palette, axis=-1).argmin(axis=1)
    return np.bincount(nearest, minlength=len(COLORS)) / len(pixels)


class ColorEmbedder:
    """An Embedder that knows colours and nothing else: a picture is its shares of colours, a text its colour words."""

    info = EmbedderInfo(name="colours", fingerprint="11-colours", dimension=len(COLORS) + 1, preprocessing="none")
    capabilities = EmbedderCapabilities()

    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        """One row per frame: the shares of the colours, and 0 for "no colour"."""
        rows = [np.append(color_shares(frame), 0.0) for frame in frames]
        return unit_rows(np.array(rows).reshape(len(rows), self.info.dimension))

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """One row per text: how often it names each colour, or 1 for "no colour"."""
        rows = []
        for text in texts:
            named = Counter(words(text))
            counts = [named[color] for color in COLORS]
            rows.append([*counts, 0 if any(counts) else 1])
        return unit_rows(np.array(rows, dtype=np.float32).reshape(len(rows), self.info.dimension))


class SynonymEmbedder:
    """A TextEmbedder that counts words, and knows which of them mean the same: SynonymEmbedder("dog hound").

    The words of a group share a direction; any other has one of _OTHERS to itself, as far as these reach.
    """

    _OTHERS = 64

    def __init__(self, *groups: str) -> None:
        self._direction = {word: self._OTHERS + i for i, group in enumerate(groups) for word in group.split()}
        self.info = EmbedderInfo("synonyms", "|".join(groups), self._OTHERS + len(groups), "none")

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """One row per text: how often its words point in each direction."""
        rows = np.zeros((len(texts), self.info.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in words(text) or [""]:
                row[self._direction.get(word, zlib.crc32(word.encode()) % self._OTHERS)] += 1
        return unit_rows(rows)


class ColorVQA:
    """A VisualQA that sees colours: it answers with the largest one, and a text fits by the colours it names."""

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """The colours of the picture, the largest first, with their shares as confidence."""
        shares = zip(COLORS, color_shares(frame).tolist(), strict=True)
        seen = sorted((pair for pair in shares if pair[1]), key=lambda pair: -pair[1])
        return VQAResult(*seen[0], tuple(seen))

    def match(self, frames: Sequence[Frame], texts: Sequence[str]) -> np.ndarray:
        """(N,): the cosine of picture i and text i; a text without colours fits every picture by half."""
        embedder = ColorEmbedder()
        named = embedder.embed_texts(texts)
        cosines = np.sum(embedder.embed_images(frames) * named, axis=1)
        return np.where(named[:, -1] > 0, np.float32(0.5), cosines)


class ScriptedVQA:
    """A VisualQA that gives the answers it was given. Questions are found by a part of them, whatever the case.

    answers: part of the question to (answer, confidence). fit: what `match` returns for every picture.
    """

    def __init__(self, answers: Mapping[str, tuple[str, float]], fit: float = 1.0) -> None:
        self.answers = answers
        self.fit = fit
        self.asked: list[str] = []

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """The first scripted answer whose key is in the question; a question without one is an error."""
        self.asked.append(question)
        for part, (answer, confidence) in self.answers.items():
            if part.casefold() in question.casefold():
                return VQAResult(answer, confidence, ((answer, confidence),))
        raise InputError(f"no answer is scripted for {question!r}; there are answers for {list(self.answers)!r}")

    def match(self, frames: Sequence[Frame], texts: Sequence[str]) -> np.ndarray:
        """(N,): the same fit for all."""
        return np.full(len(frames), self.fit, dtype=np.float32)


class ScriptedReader:
    """A OCRReader that finds words by the largest colour of the picture: {"red": "STOP"}."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self.words = words
        self.reads = 0

    def read(self, frame: Frame) -> list[TextRegion]:
        """The words of that colour as one line over the whole picture, or nothing."""
        self.reads += 1
        color = list(COLORS)[int(color_shares(frame).argmax())]
        line = self.words.get(color)
        return [TextRegion(line, (0.0, 0.0, 1.0, 1.0), 1.0)] if line else []


class ScriptedCaptioner:
    """A Captioner that goes by the largest colour of the picture: {"red": "a fire engine"}.

    batches: how many pictures it was given at a time.
    """

    def __init__(self, captions: Mapping[str, str]) -> None:
        self.captions = captions
        self.batches: list[int] = []

    def caption(self, frames: Sequence[Frame]) -> list[str]:
        """What is said of that colour, or ""."""
        self.batches.append(len(frames))
        return [self.captions.get(list(COLORS)[int(color_shares(frame).argmax())], "") for frame in frames]
