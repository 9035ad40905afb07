"""Adapts an embedder to mteb, so that the tasks of MTEB and MIEB (arXiv 2504.10471) run on it.

import mteb
from florence_rag.evaluation.mteb_encoder import MtebEncoder

mteb.evaluate(MtebEncoder(embedder), mteb.get_tasks(tasks=["CIFAR10ZeroShot"]))
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from florence_rag.chunking import read_image
from florence_rag.embedding.base import Embedder, QueryEmbedder, unit_rows
from florence_rag.errors import InputError, MissingExtraError

try:
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ModelMeta, ScoringFunction
    from mteb.types import PromptType
except ImportError as error:
    raise MissingExtraError("mteb", "mteb") from error


class MtebEncoder(AbsEncoder):
    """mteb's encoder over an embedder of images and texts.

    mteb stores its results under the embedder's name and the fingerprint of its weights.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        info = embedder.info
        metadata = {
            "name": info.name if "/" in info.name else f"florence_rag/{info.name}",
            "revision": info.fingerprint[:12],
            "embed_dim": info.dimension,
            "modalities": ["image", "text"],
            "similarity_fn_name": ScoringFunction.COSINE,
        }
        self.mteb_model_meta = ModelMeta.create_empty(metadata)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **options: Any,
    ) -> np.ndarray:
        """Return a unit vector for each item of the batches, (N, D) float32.

        Batches have the keys "image" (PIL images), "text", or both; an item with both gets the mean direction of its
        two vectors. The embedder has its own batch size and ignores mteb's options.
        """
        vectors = [self._vectors(batch, prompt_type) for batch in inputs]
        return np.concatenate([np.zeros((0, self.embedder.info.dimension), np.float32), *vectors])

    def _vectors(self, batch: Mapping[str, Any], prompt_type: PromptType | None) -> np.ndarray:
        parts = []
        if "image" in batch:
            parts.append(self.embedder.embed_images([read_image(image) for image in batch["image"]]))
        if "text" in batch:
            embed = self.embedder.embed_texts
            if prompt_type == PromptType.query and isinstance(self.embedder, QueryEmbedder):
                embed = self.embedder.embed_queries
            parts.append(embed(list(batch["text"])))
        if not parts:
            raise InputError(f"a batch of mteb has {', '.join(map(repr, batch))}; it must have 'image', 'text' or both")
        return unit_rows(np.sum(parts, axis=0))
