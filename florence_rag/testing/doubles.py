"""Models that only know colors, and models that return scripted results."""

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
    "gray": (128, 128, 128),
    "orange": (255, 140, 0),
    "pink": (255, 150, 190),
    "purple": (128, 0, 128),
    "red": (255, 0, 0),
    "white": (255, 255, 255),
    "yellow": (255, 255, 0),
}


def color_frame(*colors: str, size_px: int = 48) -> Frame:
    """Return a square image (size_px, size_px, 3) of vertical stripes of equal width."""
    stripes = np.array([COLORS[color] for color in colors], dtype=np.uint8)
    columns = stripes[np.arange(size_px) * len(colors) // size_px]
    return np.ascontiguousarray(np.broadcast_to(columns, (size_px, size_px, 3)))


def color_shares(frame: Frame) -> np.ndarray:
    """Return the share (11,) of the image's pixels that lie nearest to each of COLORS."""
    pixels = frame[:: max(1, len(frame) // 64), :: max(1, frame.shape[1] // 64)].reshape(-1, 3).astype(np.float32)
    palette = np.array(list(COLORS.values()), dtype=np.float32)
    nearest = np.linalg.norm(pixels[:, None] - palette, axis=-1).argmin(axis=1)
    return np.bincount(nearest, minlength=len(COLORS)) / len(pixels)


def _largest_color(frame: Frame) -> str:
    return list(COLORS)[int(color_shares(frame).argmax())]


class ColorEmbedder:
    """An `Embedder` that only knows colors: of an image their shares, of a text their names."""

    info = EmbedderInfo(name="colors", fingerprint="11-colors", dimension=len(COLORS) + 1, preprocessing="none")
    capabilities = EmbedderCapabilities()

    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        """Return one row per frame: the shares of the colors, and 0 for "no color"."""
        rows = [np.append(color_shares(frame), 0.0) for frame in frames]
        return unit_rows(np.array(rows).reshape(len(rows), self.info.dimension))

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return one row per text: how often it names each color, or 1 for "no color"."""
        rows = []
        for text in texts:
            named = Counter(words(text))
            counts = [named[color] for color in COLORS]
            rows.append([*counts, 0 if any(counts) else 1])
        return unit_rows(np.array(rows, dtype=np.float32).reshape(len(rows), self.info.dimension))


class SynonymEmbedder:
    """A `TextEmbedder` that counts words and knows groups of synonyms: SynonymEmbedder("dog hound").

    The words of a group share a direction. Every other word gets one of _OTHERS directions by its hash.
    """

    _OTHERS = 64

    def __init__(self, *groups: str) -> None:
        self._direction = {word: self._OTHERS + i for i, group in enumerate(groups) for word in group.split()}
        self.info = EmbedderInfo("synonyms", "|".join(groups), self._OTHERS + len(groups), "none")

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return one row per text: how many of its words have each direction."""
        rows = np.zeros((len(texts), self.info.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in words(text) or [""]:
                row[self._direction.get(word, zlib.crc32(word.encode()) % self._OTHERS)] += 1
        return unit_rows(rows)


class ColorVQA:
    """A `VisualQA` that answers with the largest color and matches texts by the colors they name."""

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Return the colors of the image, the largest first, with their shares as confidence."""
        shares = zip(COLORS, color_shares(frame).tolist(), strict=True)
        seen = sorted((pair for pair in shares if pair[1]), key=lambda pair: -pair[1])
        return VQAResult(*seen[0], tuple(seen))

    def match(self, frames: Sequence[Frame], texts: Sequence[str]) -> np.ndarray:
        """Return the cosine (N,) of image i and text i; a text without colors matches every image by 0.5."""
        embedder = ColorEmbedder()
        named = embedder.embed_texts(texts)
        cosines = np.sum(embedder.embed_images(frames) * named, axis=1)
        return np.where(named[:, -1] > 0, np.float32(0.5), cosines)


class ScriptedVQA:
    """A `VisualQA` with scripted answers, which are selected by a part of the question in any case.

    answers: part of the question to (answer, confidence). fit: the score that `match` returns for every image.
    """

    def __init__(self, answers: Mapping[str, tuple[str, float]], fit: float = 1.0) -> None:
        self.answers = answers
        self.fit = fit
        self.asked: list[str] = []

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Return the first answer whose key is in the question, or raise InputError."""
        self.asked.append(question)
        for part, (answer, confidence) in self.answers.items():
            if part.casefold() in question.casefold():
                return VQAResult(answer, confidence, ((answer, confidence),))
        raise InputError(f"no answer is scripted for {question!r}; there are answers for {list(self.answers)!r}")

    def match(self, frames: Sequence[Frame], texts: Sequence[str]) -> np.ndarray:
        """Return the same score (N,) for all pairs."""
        return np.full(len(frames), self.fit, dtype=np.float32)


class ScriptedReader:
    """An `OCRReader` that reads text by the largest color of the image: {"red": "STOP"}."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self.words = words
        self.reads = 0

    def read(self, frame: Frame) -> list[TextRegion]:
        """Return the text for that color as one line over the whole image, or nothing."""
        self.reads += 1
        line = self.words.get(_largest_color(frame))
        return [TextRegion(line, (0.0, 0.0, 1.0, 1.0), 1.0)] if line else []


class ScriptedCaptioner:
    """A `Captioner` that captions by the largest color of the image: {"red": "a fire engine"}.

    batches: the number of images in each call.
    """

    def __init__(self, captions: Mapping[str, str]) -> None:
        self.captions = captions
        self.batches: list[int] = []

    def caption(self, frames: Sequence[Frame]) -> list[str]:
        """Return the caption for that color, or ""."""
        self.batches.append(len(frames))
        return [self.captions.get(_largest_color(frame), "") for frame in frames]
