"""Embeds with the models of sentence-transformers: CLIP, SigLIP 2, Qwen3-VL-Embedding, and models for texts only."""

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer

from florence_rag.embedding.base import EmbedderCapabilities, TextLimit, TooLong, unit_rows
from florence_rag.embedding.query_encoder import ImageQuerySettings, QuerySettings, TextQuerySettings
from florence_rag.errors import InputError, ModelError
from florence_rag.models.fast_resize import resize_for, scaling_of
from florence_rag.models.inference_backends import Backend, Precision, check_acceleration
from florence_rag.models.numpy_image_encoder import ImageNetworkSettings
from florence_rag.models.numpy_text_encoder import TextNetworkSettings
from florence_rag.models.sentence_transformers import (
    PRECISIONS,
    accelerate_images,
    has_image_encoder,
    is_cross_encoder,
    model_folder,
    open_model,
    weights_fingerprint,
)
from florence_rag.types import EmbedderInfo, Frame

_SIGLIP = frozenset({"siglip", "siglip2"})
"""Models that were trained on lower-case texts, padded to the full length. They lose accuracy on other inputs, and the
tokenizers of the SigLIP 2 of one resolution keep capital letters, whatever their settings say (arXiv 2502.14786)."""

_UNLIMITED = 1_000_000


class SentenceTransformerTextEmbedder:
    """A `TextEmbedder`. Threads may share it, and take turns. `batch` is the number of items per forward pass.

    Queries get the model's prompt for queries, other texts its prompt for documents, if it has these prompts. Texts of
    more tokens than the model reads are truncated ("truncate"), which is logged once, or raise an InputError ("error").
    `backend` names the engine of the image encoder, if there is one.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        name: str,
        fingerprint: str,
        batch: int = 32,
        too_long: TooLong = "truncate",
        backend: Backend = "torch",
    ) -> None:
        if not model.supports("text"):
            raise ModelError(f"the model {name!r} cannot embed texts; it takes {_listed(model.modalities)}")
        self._model = model
        self._batch = batch
        self._backend = backend
        self._lock = threading.Lock()  # a tokenizer cannot be used by two threads
        limit = _text_limit(model)
        self._limit = TextLimit(name, limit, model.tokenizer, too_long)
        self._reads_media = any(model.supports(each) for each in ("image", "video", "audio"))
        self._options: dict[str, Any] = {}
        self._is_siglip = getattr(model.config, "model_type", "") in _SIGLIP
        if self._is_siglip:
            positions = model.config.get_text_config().max_position_embeddings if model.config else limit
            self._options["processing_kwargs"] = {"text": {"padding": "max_length", "max_length": positions}}
        # Measure the dimension, since the configuration of some models states a wrong one.
        dimension = self._encode_texts(model.encode_query, ["a"]).shape[1]
        self.info = EmbedderInfo(name, fingerprint, dimension, _preprocessing(model, limit))

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        name: str,
        device: str | None = None,
        precision: Precision | None = None,
        backend: Backend = "torch",
        dimension: int | None = None,
        too_long: TooLong = "truncate",
    ) -> Self:
        """Load a folder, by default onto a GPU if there is one.

        CLIP and SigLIP run their image encoder with any precision and backend of models/inference_backends.py, other
        models run on torch in fp32 or bf16. `dimension` truncates vectors, for models that were trained for it.
        Missing files are a ModelError, an impossible combination of options is an InputError.
        """
        folder = model_folder(folder)
        if is_cross_encoder(folder):
            raise ModelError(f"the model {name!r} scores pairs and embeds nothing; it can serve as reranker")
        has_encoder = has_image_encoder(folder)  # the precision and the backend then concern the image encoder alone
        if not has_encoder and (backend != "torch" or precision not in (None, *PRECISIONS)):
            raise InputError(
                f"{name!r} has no image encoder of its own: it runs on the backend 'torch' with "
                f"{' or '.join(PRECISIONS)}, not on {backend!r} with {precision or 'fp32'!r}"
            )
        whole = None if has_encoder else precision
        model = open_model(SentenceTransformer, folder, device=device, precision=whole, truncate_dim=dimension)
        if has_encoder:
            precision = precision or "fp32"
            check_acceleration(backend, precision, model.device)
            if (backend, precision) != ("torch", "fp32"):
                accelerate_images(model, backend=backend, precision=precision)
        embedder = cls(model, name=name, fingerprint=weights_fingerprint(folder), too_long=too_long, backend=backend)
        if dimension is not None and embedder.info.dimension != dimension:
            raise InputError(f"dimension is {dimension!r}; {name!r} has {embedder.info.dimension} dimensions")
        return embedder

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts with the prompt for documents, as (N, D) float32 of unit length."""
        return self._encode_texts(self._model.encode_document, texts)

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts with the prompt for queries, as (N, D) float32 of unit length."""
        return self._encode_texts(self._model.encode_query, texts)

    def _encode_texts(self, encode: Callable[..., Any], texts: Sequence[str]) -> np.ndarray:
        if self._is_siglip:
            texts = [text.lower() for text in texts]
        # As a plain str, a query that is the URL or the path of an image would be opened as that image.
        items = [{"text": text} if self._reads_media else text for text in texts]
        with self._lock:
            self._limit.check(texts)
            return self._encode(encode, items, **self._options)

    def _encode(self, encode: Callable[..., Any], items: list[Any], **options: Any) -> np.ndarray:
        if not items:
            return np.zeros((0, self.info.dimension), dtype=np.float32)
        rows = encode(items, batch_size=self._batch, show_progress_bar=False, convert_to_tensor=True, **options)
        return unit_rows(rows.float().cpu().numpy())


class SentenceTransformerEmbedder(SentenceTransformerTextEmbedder):
    """An `Embedder`, for models that read images and texts, with the same options. Threads may share it."""

    def __init__(self, model: SentenceTransformer, *, name: str, **options: Any) -> None:
        if not model.supports("image"):
            raise ModelError(
                f"the model {name!r} cannot embed images; it takes {_listed(model.modalities)}, "
                "so use it as text_embedder, next to a model that can"
            )
        super().__init__(model, name=name, **options)
        self._reads_images_alone = "message" not in model.modalities  # a chat template puts images between texts
        self._image_processor = getattr(getattr(model[0], "processor", None), "image_processor", None)
        self._scale = resize_for(self._image_processor)
        width = self.embed_images([np.zeros((32, 32, 3), dtype=np.uint8)]).shape[1]
        if width != self.info.dimension:
            raise ModelError(
                f"the model {name!r} embeds images and texts in different spaces: "
                f"vectors of {width} dimensions and of {self.info.dimension}"
            )

    @property
    def capabilities(self) -> EmbedderCapabilities:
        """One worker per thread of torch on a CPU, and images of up to twice the size that the network reads.

        Models with a chat template share the tokenizer between images and texts, so they embed one batch at a time, and
        read images of any size.
        """
        can_share = self._reads_images_alone and self._backend == "torch" and self._model.device.type == "cpu"
        side = getattr(getattr(self._model.config, "vision_config", None), "image_size", None)
        return EmbedderCapabilities(
            workers=torch.get_num_threads() if can_share else 1,
            detail_px=2 * side if self._reads_images_alone and isinstance(side, int) else None,
            device=str(self._model.device),
        )

    def query_settings(self) -> QuerySettings | None:
        """Return how queries are embedded; None for other networks than CLIP and SigLIP."""
        whole, tokenizer = self._model.config, self._model.tokenizer
        kind = getattr(whole, "model_type", "")
        if whole is None or tokenizer is None or kind not in ("clip", "siglip"):
            return None
        config = whole.get_text_config()
        network = TextNetworkSettings(
            network="clip" if kind == "clip" else "siglip",
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            eps=config.layer_norm_eps,
            activation=config.hidden_act,
            end_token=tokenizer.eos_token_id if kind == "clip" else None,
            is_causal=kind == "clip",
        )
        padding = (tokenizer.pad_token, tokenizer.pad_token_id) if kind == "siglip" else None
        masks_padding = "attention_mask" in tokenizer.model_input_names
        text = TextQuerySettings(network, self._limit.limit, padding, masks_padding, lowers_case=self._is_siglip)
        return QuerySettings(text, self._image_settings(whole.vision_config))

    def _image_settings(self, config: Any) -> ImageQuerySettings | None:
        processor: Any = self._image_processor
        scaling = scaling_of(processor)
        if scaling is None:
            return None
        network = ImageNetworkSettings(
            network="siglip" if self._is_siglip else "clip",
            layers=(config.num_hidden_layers,),
            heads=(config.num_attention_heads,),
            eps=config.layer_norm_eps,
            activation=config.hidden_act,
        )
        scale = processor.rescale_factor if processor.do_rescale else 1.0
        normalization = (processor.image_mean, processor.image_std) if processor.do_normalize else (0.0, 1.0)
        return ImageQuerySettings(network, scaling, scale, *(tuple(np.atleast_1d(x).tolist()) for x in normalization))

    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        """Embed RGB images (H, W, 3) uint8 of any sizes as (N, D) float32 of unit length."""
        with nullcontext() if self._reads_images_alone else self._lock:
            return self._encode(self._model.encode_document, [Image.fromarray(self._scale(frame)) for frame in frames])


def _listed(modalities: Sequence[str | tuple[str, ...]]) -> str:
    return ", ".join(each if isinstance(each, str) else "+".join(each) for each in modalities)


def _text_limit(model: SentenceTransformer) -> int:
    """Return the tokens of the longest text, from the tokenizer or, if that does not know, from the network."""
    limit = model.max_seq_length
    if limit is None or limit > _UNLIMITED:
        config = model.config
        limit = getattr(config.get_text_config(), "max_position_embeddings", None) if config else None
        if limit and model.tokenizer is not None:
            model.max_seq_length = limit
    return limit or _UNLIMITED


def _preprocessing(model: SentenceTransformer, limit: int) -> str:
    """Describe what an index must not mix: the kind of network, the length of texts, and the prompts."""
    kind = getattr(model.config, "model_type", "") or type(model[0]).__name__
    length = f"texts of {limit} tokens" if limit < _UNLIMITED else "texts of any length"
    if kind in _SIGLIP:
        length += " in lower case"
    prompts = {key: prompt for key, prompt in model.prompts.items() if prompt}
    digest = blake2b(json.dumps(prompts, sort_keys=True).encode(), digest_size=4).hexdigest()
    return f"{kind}, {length}" + (f", prompts {digest}" if prompts else "")
