"""Opens a model for queries without PyTorch, if it was opened in full before and its files have not changed since.

Opening it in full checks the files, and compares the vectors of a few texts with those of the `TextQueryEncoder`; the
first image that is a query does the same for images. What was found is remembered for the path, size and modification
time of each file of the model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from florence_rag.context import LazyValue
from florence_rag.embedding.base import Embedder, EmbedderCapabilities, TooLong, embed_queries
from florence_rag.embedding.query_encoder import (
    HasQuerySettings,
    ImageQueryEncoder,
    ImageQuerySettings,
    QuerySettings,
    TextQueryEncoder,
    TextQuerySettings,
)
from florence_rag.loading import loaders
from florence_rag.loading.model_loader import ModelLoader
from florence_rag.models.image_scaling import ImageScaling
from florence_rag.models.numpy_image_encoder import ImageNetworkSettings
from florence_rag.models.numpy_text_encoder import TextNetworkSettings
from florence_rag.models.registry import ModelCard
from florence_rag.models.state_cache import StateCache, file_key
from florence_rag.telemetry import get_logger
from florence_rag.types import EmbedderInfo, Frame

log = get_logger(__name__)

_LOADERS = (loaders.load_florence, loaders.load_sentence_transformer)
"""The loaders of models whose queries NumPy can embed. A program may have registered another one for a family."""
_remembered = StateCache("query_encoders.json")
_MAX_TEXTS, _MAX_IMAGES = 32, 8
"""The most queries that are embedded at once without PyTorch, whose batches are faster than its import from here on."""
_MIN_COSINE = 0.9999
_PROBES = (
    "a red car",
    "Two DOGS & a cat, at night!",
    "  Ein  Stra\u00dfencaf\u00e9\tin Z\u00fcrich\n",
    "cafe\u0301 \ufb01sh \u201cquoted\u201d &amp;lt; it\u2019s",
    "\u8d64\u3044\u8eca 2.5 \U0001f697 \u0645\u0631\u062d\u0628\u0627",
    "</s> <|endoftext|> [SEP]",
    ".",
)
_PROBE_SIZES = ((480, 640), (2, 100), (1, 1))
"""The heights and widths in pixels of images that are compared."""


@dataclass(frozen=True, slots=True)
class _Record:
    """What is remembered of a model whose texts agree; `images_agree` is None until an image was a query."""

    info: EmbedderInfo
    settings: QuerySettings
    images_agree: bool | None = None

    @classmethod
    def from_json(cls, text: str) -> _Record:
        info, settings, images_agree = _as_tuples(json.loads(text))
        texts, images = settings["text"], settings["image"]
        texts["network"] = TextNetworkSettings(**texts["network"])
        if images:
            images["network"] = ImageNetworkSettings(**images["network"])
            images["scaling"] = ImageScaling(**images["scaling"])
        found = QuerySettings(TextQuerySettings(**texts), ImageQuerySettings(**images) if images else None)
        return cls(EmbedderInfo(**info), found, images_agree)

    def to_json(self) -> str:
        return json.dumps([asdict(self.info), asdict(self.settings), self.images_agree])


@dataclass(frozen=True, slots=True)
class _ModelFiles:
    """The folder of the weights of a model, and the key of what is remembered for the present files of the model."""

    folder: Path
    key: str

    def recall(self) -> _Record | None:
        """Return what is remembered; a damaged record is a TypeError, ValueError or KeyError."""
        text = _remembered.read().get(self.key)
        return None if text is None else _Record.from_json(text)

    def remember(self, record: _Record) -> None:
        _remembered.add({self.key: record.to_json()})


class QueryFirstEmbedder:
    """An `Embedder` that embeds queries without PyTorch, and opens the model in full when it is needed for more.

    The first image that is a query opens the model, too, to compare its vectors of images with those of NumPy.
    """

    def __init__(self, files: _ModelFiles, record: _Record, model: LazyValue[Embedder], too_long: TooLong) -> None:
        self.info = replace(record.info, name=model.name)
        self._files = files
        self._record = record
        self._model = model
        self._embed_texts = TextQueryEncoder(files.folder, record.settings.text, model.name, too_long)
        self._image_encoder = LazyValue(self._open_image_encoder)

    @property
    def capabilities(self) -> EmbedderCapabilities:
        """The capabilities of the model, which is opened for them."""
        return self._model.get().capabilities

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Embed queries as (N, D) float32 of unit length."""
        if not 0 < len(texts) <= _MAX_TEXTS:
            return embed_queries(self._model.get(), texts)
        return self._embed_texts(texts)

    def embed_image_queries(self, frames: Sequence[Frame]) -> np.ndarray:
        """Embed queries, RGB images (H, W, 3) uint8 of any sizes, as (N, D) float32 of unit length."""
        if not 0 < len(frames) <= _MAX_IMAGES:
            return self._model.get().embed_images(frames)
        return self._image_encoder.get()(frames)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts as (N, D) float32 of unit length."""
        return self._model.get().embed_texts(texts)

    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        """Embed RGB images (H, W, 3) uint8 of any sizes as (N, D) float32 of unit length."""
        return self._model.get().embed_images(frames)

    def _open_image_encoder(self) -> Callable[[Sequence[Frame]], np.ndarray]:
        """Return what embeds images without PyTorch, or the model if that differs from it."""
        folder, settings, agree = self._files.folder, self._record.settings.image, self._record.images_agree
        if agree is None:
            agree = settings is not None and _images_agree(self._model.get(), folder, settings)
            self._files.remember(replace(self._record, images_agree=agree))
        return ImageQueryEncoder(folder, settings) if settings and agree else self._model.get().embed_images


def load_embedder(loader: ModelLoader, card: ModelCard) -> Embedder:
    """Load the embedder of a card: for queries first if its files are known, otherwise in full."""
    files = _model_files(loader, card)
    if files is None:
        return loader.load(loaders.EMBEDDER, card)
    model: LazyValue[Embedder] = LazyValue(lambda: loader.load(loaders.EMBEDDER, card), card.name)
    try:
        if record := files.recall():
            return QueryFirstEmbedder(files, record, model, loader.options.too_long)
    except (KeyError, TypeError, ValueError, OSError) as error:  # a damaged record; the model says what is wrong
        log.debug("%s is opened in full: %s", card.name, error)
    embedder = model.get()
    settings = embedder.query_settings() if isinstance(embedder, HasQuerySettings) else None
    if settings and _texts_agree(embedder, files.folder, settings.text):
        files.remember(_Record(embedder.info, settings))
    return embedder


def _model_files(loader: ModelLoader, card: ModelCard) -> _ModelFiles | None:
    """Return the files of a model on this machine; None if it has none, or its options concern the image encoder."""
    options = loader.options
    if (
        loaders.EMBEDDER.loaders[card.family] not in _LOADERS
        or options.device not in (None, "cpu")
        or options.precision
        or options.backend != "torch"
    ):
        return None
    loader.require(loaders.EMBEDDER, card)
    fetched = loader.fetch(card)
    root = Path(fetched.source) if card.family == "sentence-transformers" else fetched.florence
    folders = {file.parent for file in root.rglob("*.safetensors")} if root else set()
    return _ModelFiles(folders.pop(), _key(root)) if root and len(folders) == 1 else None


def _texts_agree(embedder: Embedder, folder: Path, settings: TextQuerySettings) -> bool:
    """Return whether queries are embedded as by the model."""
    name = embedder.info.name
    return _agrees(lambda: (TextQueryEncoder(folder, settings, name)(_PROBES), embed_queries(embedder, _PROBES)))


def _images_agree(embedder: Embedder, folder: Path, settings: ImageQuerySettings) -> bool:
    """Return whether images are embedded as by the model."""
    probes = [_probe_image(*size) for size in _PROBE_SIZES]
    return _agrees(lambda: (ImageQueryEncoder(folder, settings)(probes), embedder.embed_images(probes)))


def _agrees(embed: Callable[[], tuple[np.ndarray, np.ndarray]]) -> bool:
    """Return whether two ways to embed give the same vectors."""
    try:
        vectors, expected = embed()
    except Exception as error:  # files of other kinds, whose queries the model itself embeds
        log.debug("queries need PyTorch: %s", error)
        return False
    return vectors.shape == expected.shape and bool(((vectors * expected).sum(axis=1) >= _MIN_COSINE).all())


def _probe_image(height: int, width: int) -> Frame:
    """Draw two gradients and a checkerboard, one in each channel."""
    rows, columns = np.indices((height, width))
    channels = rows * 255 / height, columns * 255 / width, (rows // 16 + columns // 16) % 2 * 255
    return np.stack(channels, axis=-1).astype(np.uint8)


def _key(root: Path) -> str:
    """Return a digest of what the vectors of a model depend on."""
    versions = [version(name) for name in ("florence-rag", "transformers", "tokenizers", "pillow")]
    files = file_key(file for file in sorted(root.rglob("*")) if file.is_file())
    return hashlib.blake2b(json.dumps([str(root.resolve()), versions, files]).encode(), digest_size=16).hexdigest()


def _as_tuples(value: Any) -> Any:
    """Return a value of JSON with tuples in place of lists, which the settings hold."""
    if isinstance(value, Mapping):
        return {name: _as_tuples(each) for name, each in value.items()}
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
