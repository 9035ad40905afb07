"""Opens a model for queries without PyTorch, if it was opened in full before and its files have not changed since.

Opening it in full checks the files, and compares the vectors of a few texts with those of the `QueryEncoder`. What was
found is remembered for the path, size and modification time of each file of the model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from florence_rag.context import LazyValue
from florence_rag.embedding.base import Embedder, EmbedderCapabilities, embed_queries
from florence_rag.embedding.query_encoder import HasQuerySettings, QueryEncoder, QuerySettings
from florence_rag.loading import loaders
from florence_rag.loading.model_loader import ModelLoader
from florence_rag.models.numpy_text_encoder import NetworkSettings
from florence_rag.models.registry import ModelCard
from florence_rag.models.state_cache import StateCache, file_key
from florence_rag.telemetry import get_logger
from florence_rag.types import EmbedderInfo, Frame

log = get_logger(__name__)

_LOADERS = (loaders.load_florence, loaders.load_sentence_transformer)
"""The loaders of models that a `QueryEncoder` can replace. A program may have registered another one for a family."""
_remembered = StateCache("query_encoders.json")
_MAX_QUERIES = 32
"""The most texts that are embedded at once without PyTorch, whose batches are faster than its import from here on."""
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


class QueryFirstEmbedder:
    """An `Embedder` that embeds queries without PyTorch, and opens the model in full when it is needed for more."""

    def __init__(self, info: EmbedderInfo, encode: QueryEncoder, model: LazyValue[Embedder]) -> None:
        self.info = info
        self._encode = encode
        self._model = model

    @property
    def capabilities(self) -> EmbedderCapabilities:
        """The capabilities of the model, which is opened for them."""
        return self._model.get().capabilities

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Embed queries as (N, D) float32 of unit length."""
        if not 0 < len(texts) <= _MAX_QUERIES:
            return embed_queries(self._model.get(), texts)
        return self._encode(texts)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts as (N, D) float32 of unit length."""
        return self._model.get().embed_texts(texts)

    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        """Embed RGB images (H, W, 3) uint8 of any sizes as (N, D) float32 of unit length."""
        return self._model.get().embed_images(frames)


def load_embedder(loader: ModelLoader, card: ModelCard) -> Embedder:
    """Load the embedder of a card: for queries first if its files are known, otherwise in full."""
    root = _model_folder(loader, card)
    folders = {file.parent for file in root.rglob("*.safetensors")} if root else set()
    if root is None or len(folders) != 1:
        return loader.load(loaders.EMBEDDER, card)
    model: LazyValue[Embedder] = LazyValue(lambda: loader.load(loaders.EMBEDDER, card), card.name)
    folder, key = folders.pop(), _key(root)
    if remembered := _remembered.read().get(key):
        try:
            info, settings = _from_json(remembered)
            encode = QueryEncoder(folder, settings, card.name, loader.options.too_long)
            return QueryFirstEmbedder(replace(info, name=card.name), encode, model)
        except (KeyError, TypeError, ValueError, OSError) as error:  # a damaged record; the model says what is wrong
            log.debug("%s is opened in full: %s", card.name, error)
    embedder = model.get()
    found = embedder.query_settings() if isinstance(embedder, HasQuerySettings) else None
    if found and _agrees(embedder, folder, found):
        _remembered.add({key: json.dumps([asdict(embedder.info), asdict(found)])})
    return embedder


def _model_folder(loader: ModelLoader, card: ModelCard) -> Path | None:
    """Return the folder of a model on this machine; None if it has none, or its options concern the image encoder."""
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
    return Path(fetched.source) if card.family == "sentence-transformers" else fetched.florence


def _agrees(embedder: Embedder, folder: Path, settings: QuerySettings) -> bool:
    """Return whether a `QueryEncoder` embeds texts as the model does."""
    try:
        vectors = QueryEncoder(folder, settings, embedder.info.name)(_PROBES)
    except Exception as error:  # files of other kinds, whose queries the model itself embeds
        log.debug("queries of %s need PyTorch: %s", embedder.info.name, error)
        return False
    expected = embed_queries(embedder, _PROBES)
    return vectors.shape == expected.shape and bool(((vectors * expected).sum(axis=1) >= _MIN_COSINE).all())


def _key(root: Path) -> str:
    """Return a digest of what the vectors of a model depend on."""
    versions = [version(name) for name in ("florence-rag", "transformers", "tokenizers")]
    files = file_key(file for file in sorted(root.rglob("*")) if file.is_file())
    return hashlib.blake2b(json.dumps([str(root.resolve()), versions, files]).encode(), digest_size=16).hexdigest()


def _from_json(text: str) -> tuple[EmbedderInfo, QuerySettings]:
    info, settings = json.loads(text)
    settings["network"] = NetworkSettings(**settings["network"])
    settings["padding"] = settings["padding"] and tuple(settings["padding"])
    return EmbedderInfo(**info), QuerySettings(**settings)
