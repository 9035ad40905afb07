"""A Florence dual encoder behind LlamaIndex's MultiModalEmbedding interface."""

import hashlib
import io
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
from llama_index.core.schema import BaseNode, ImageType

from florence_rag import Embedder, FlorenceRAG
from florence_rag.async_methods import in_thread
from florence_rag.chunking import read_image
from florence_rag.embedding.base import embed_queries
from florence_rag.loading.loaders import EMBEDDER
from florence_rag.loading.model_loader import load_model
from florence_rag.text_arguments import check_text, check_texts
from florence_rag.validation import validate_arguments
from llama_index_florence._convert import node_to_image

_READING_THREADS = 4
_CACHE_SIZE = 100_000  # vectors, 20 MB

Modality = Literal["image", "text"]
"""The input that a vector was computed from."""


@validate_arguments
class FlorenceEmbedding(MultiModalEmbedding):
    """Embeds texts and images as unit vectors of one space.

        FlorenceEmbedding()                          # "florence-tiny", or model_name="name or folder"
        FlorenceEmbedding(rag=rag)                   # the embedder of an open index
        FlorenceEmbedding(embedder=my_embedder)      # any florence_rag.Embedder

    An image is a path, a file: URL, a data URI or an open file; other URLs are not fetched. As a transformation of an
    IngestionPipeline, it embeds a node with an image from its pixels, and any other node from its text.

    Args:
        model_name: The name or folder of a model, if neither `rag` nor `embedder` is given.
        rag: An open index, whose embedder is used.
        embedder: Any Embedder of florence_rag.
        **settings: Fields of LlamaIndex's MultiModalEmbedding.
    """

    embed_batch_size: int = Field(default=32, gt=0, le=2048, description="The number of images or texts per batch.")
    fingerprint: str = ""
    """Digest of the weights, so that caches of LlamaIndex never mix two models of one name."""

    _embedder: Embedder = PrivateAttr()
    _modalities: OrderedDict[bytes, Modality] = PrivateAttr(default_factory=OrderedDict)

    def __init__(
        self,
        model_name: str = "florence-tiny",
        *,
        rag: FlorenceRAG | None = None,
        embedder: Embedder | None = None,
        **settings: Any,
    ) -> None:
        chosen = embedder or (rag.models.embedder if rag else load_model(EMBEDDER, model_name))
        super().__init__(**{**settings, "model_name": chosen.info.name, "fingerprint": chosen.info.fingerprint})
        self._embedder = chosen

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serializes this class."""
        return "FlorenceEmbedding"

    def modality_of(self, vector: Sequence[float]) -> Modality | None:
        """Return the modality of a vector that this object computed recently, or None.

        A store uses it to decide which vectors to trust: LlamaIndex may have embedded the text of a node with an image.
        """
        return self._modalities.get(_digest(vector))

    def __call__(self, nodes: Sequence[BaseNode], **options: Any) -> Sequence[BaseNode]:
        """Embed the nodes and return them."""
        found = {place: image for place, node in enumerate(nodes) if (image := node_to_image(node)) is not None}
        images = {place: io.BytesIO(image) if isinstance(image, bytes) else image for place, image in found.items()}
        super().__call__([node for place, node in enumerate(nodes) if place not in images], **options)
        vectors = self.get_image_embedding_batch(list(images.values()), **options)
        for place, vector in zip(images, vectors, strict=True):
            nodes[place].embedding = vector
        return nodes

    acall = in_thread(__call__)

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._vectors(self._embedder.embed_texts(check_texts(texts, "text")), "text")

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> Embedding:
        """Embed a query, which some models embed differently from documents."""
        rows: list[Embedding] = embed_queries(self._embedder, [check_text(query, "query")]).tolist()
        return rows[0]

    def _get_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        with ThreadPoolExecutor(_READING_THREADS) as pool:
            frames = list(pool.map(read_image, img_file_paths))
        return self._vectors(self._embedder.embed_images(frames), "image")

    def _get_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return self._get_image_embeddings([img_file_path])[0]

    def _vectors(self, rows: np.ndarray, of: Modality) -> list[Embedding]:
        vectors: list[Embedding] = rows.tolist()
        self._modalities.update((_digest(vector), of) for vector in vectors)
        while len(self._modalities) > _CACHE_SIZE:
            self._modalities.popitem(last=False)
        return vectors

    _aget_text_embeddings = in_thread(_get_text_embeddings)
    _aget_text_embedding = in_thread(_get_text_embedding)
    _aget_query_embedding = in_thread(_get_query_embedding)
    _aget_image_embeddings = in_thread(_get_image_embeddings)
    _aget_image_embedding = in_thread(_get_image_embedding)


def _digest(vector: Sequence[float]) -> bytes:
    return hashlib.blake2b(np.asarray(vector, dtype=np.float32).tobytes(), digest_size=16).digest()
