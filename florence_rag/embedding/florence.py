"""Embeds images and texts with the dual encoder of Florence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from florence_rag.batching import batched
from florence_rag.embedding.base import EmbedderCapabilities, TextLimit, TooLong, unit_rows
from florence_rag.embedding.query_encoder import ImageQuerySettings, QuerySettings, TextQuerySettings
from florence_rag.models.fast_resize import resize_frame
from florence_rag.models.fingerprints import fingerprint
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.image_scaling import ImageScaling
from florence_rag.models.inference_backends import Backend, Precision, accelerate
from florence_rag.models.numpy_image_encoder import ImageNetworkSettings
from florence_rag.models.numpy_text_encoder import TextNetworkSettings
from florence_rag.models.processing import FlorenceProcessor
from florence_rag.models.strict_loading import open_processor, open_strictly
from florence_rag.types import EmbedderInfo, Frame


class FlorenceEmbedder:
    """An `Embedder` over a FlorenceModel and its processor. Threads may share it.

    `precision` and `backend` concern the image encoder (see models/inference_backends.py). The vectors of all of them
    agree, so that an index filled with one can be searched with another. `batch` is the number of items per forward
    pass. Texts of more tokens than the model reads are truncated ("truncate"), which is
    logged once, or raise an InputError ("error").
    """

    def __init__(
        self,
        model: FlorenceModel,
        processor: FlorenceProcessor,
        info: EmbedderInfo,
        *,
        batch: int = 32,
        precision: Precision = "fp32",
        backend: Backend = "torch",
        too_long: TooLong = "truncate",
    ) -> None:
        self._model = model.eval()
        self._processor = processor
        self.info = info
        self._batch = batch
        self._backend = backend
        self._limit = TextLimit(info.name, processor.tokenizer.model_max_length, processor.tokenizer, too_long)
        side = processor.image_processor.size
        example = torch.zeros(2, 3, side, side, device=model.device)
        self._embed_pixels = accelerate(model, "get_image_features", example, backend=backend, precision=precision)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, name: str, *, device: str | None = None, **options: Any
    ) -> FlorenceEmbedder:
        """Load a folder that `save_pretrained` wrote, by default onto a GPU if there is one, with these options."""
        folder = Path(folder)
        model = open_strictly(FlorenceModel, folder, device=device)
        processor = open_processor(FlorenceProcessor, folder)
        image = processor.image_processor
        info = EmbedderInfo(
            name=name,
            fingerprint=fingerprint(folder),
            dimension=model.config.projection_dim,
            preprocessing=f"{image.fit} to {image.size} px, resample {image.resample}, enlarge {image.enlarge:.4f}",
        )
        return cls(model, processor, info, **options)

    @property
    def capabilities(self) -> EmbedderCapabilities:
        """One worker per thread of torch on a CPU, and images of up to twice the size that the network reads."""
        image, on_cpu = self._processor.image_processor, self._model.device.type == "cpu"
        return EmbedderCapabilities(
            workers=torch.get_num_threads() if on_cpu and self._backend == "torch" else 1,
            detail_px=int(2 * image.size * (image.enlarge if image.fit == "crop" else 1)),
            region_view=image.region_view,
            logit_scale=float(self._model.logit_scale.detach().exp()),
            device=str(self._model.device),
        )

    def query_settings(self) -> QuerySettings:
        """Return how queries are embedded."""
        return QuerySettings(self._text_settings(), self._image_settings())

    def _text_settings(self) -> TextQuerySettings:
        config: Any = self._model.text_encoder.config
        network = TextNetworkSettings(
            network="florence",
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            eps=config.layer_norm_eps,
            activation=config.hidden_act,
            end_token=config.eos_token_id,
            is_causal=True,
        )
        return TextQuerySettings(
            network,
            max_tokens=self._processor.tokenizer.model_max_length,
            normalizes_text=self._processor.normalizes_text,
            splits_special_tokens=True,
        )

    def _image_settings(self) -> ImageQuerySettings:
        config: Any = self._model.image_encoder.config
        network = ImageNetworkSettings(
            network="florence",
            layers=tuple(config.depths),
            heads=tuple(config.num_heads),
            eps=config.layer_norm_eps,
            activation="gelu",
        )
        processor = self._processor.image_processor
        normalization = tuple(processor.image_mean), tuple(processor.image_std)
        return ImageQuerySettings(network, processor.scaling, 1 / 255, *normalization)

    @torch.inference_mode()
    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        """Embed RGB images (H, W, 3) uint8 of any sizes as (N, D) float32 of unit length."""
        rows = []
        for batch in batched(frames, self._batch):
            pixels = self._processor(images=[*map(self._scaled, batch)])["pixel_values"]
            rows.append(self._embed_pixels(pixels.to(self._model.device)))
        return self._stacked(rows)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts as (N, D) float32 of unit length."""
        self._limit.check(texts)
        rows = [
            self._model.get_text_features(self._processor(text=batch)["input_ids"].to(self._model.device))
            for batch in batched(texts, self._batch)
        ]
        return self._stacked(rows)

    def _scaled(self, frame: Frame) -> Frame:
        """Scale a frame as the processor would, only faster; the processor then has nothing to scale."""
        scaling: ImageScaling = self._processor.image_processor.scaling
        height, width = frame.shape[:2]
        if scaling.is_long(width, height):
            return frame
        return resize_frame(frame, *scaling.scaled_size(width, height), scaling.resample)

    def _stacked(self, rows: list[torch.Tensor]) -> np.ndarray:
        if not rows:
            return np.zeros((0, self.info.dimension), dtype=np.float32)
        return unit_rows(torch.cat(rows).float().cpu().numpy())
