"""Embeds images and texts with the original Florence, which is available only through Azure AI Vision.

The weights were never released (arXiv 2111.11432). Until 2028-09-25 Microsoft serves the dual encoder as "multimodal
embeddings": vectors of 1024 dimensions, one item per request. The model version "2023-04-15" reads 102 languages,
"2022-04-11" reads English; their vectors cannot be compared with each other.
"""

import io
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from typing import Literal, TypeVar

import numpy as np
from PIL import Image

from florence_rag.embedding.azure_client import AzureVisionClient
from florence_rag.embedding.base import EmbedderCapabilities, TooLong, unit_rows
from florence_rag.errors import InputError, ModelError
from florence_rag.jpeg import to_jpeg
from florence_rag.telemetry import get_logger
from florence_rag.types import EmbedderInfo, Frame

log = get_logger(__name__)

ModelVersion = Literal["2023-04-15", "2022-04-11"]
MODEL_VERSIONS: tuple[ModelVersion, ...] = ("2023-04-15", "2022-04-11")
RETIRES = date(2028, 9, 25)
DIMENSION = 1024
MAX_WORDS = 70

_MAX_BYTES = 20_000_000 - 1
_MIN_SIDE_PX, _MAX_SIDE_PX = 11, 15_999  # the service accepts sides of more than 10 and less than 16,000 px
_PNG_SIDE_PX = 64  # smaller images are sent as PNG: the 8 x 8 blocks of JPEG would blur them
# At this quality the vectors of 24 photographs by florence-tiny keep a cosine of 0.99994; at 75 it is 0.9990.
_JPEG_QUALITY = 90
# Scripts without spaces between words, where two characters make about one word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]{{1,2}}|[^\s{_UNSPACED}]+")

Item = TypeVar("Item")


class AzureEmbedder:
    """An `Embedder` that sends every item to Azure AI Vision. Threads may share it.

    The fingerprint in `info` is the model version, so that no index mixes the two versions. Texts of more than 70 words
    are truncated ("truncate"), which is logged once, or raise an InputError ("error"). Images whose longer side has
    more than max_side_px are scaled down, those below 11 px are scaled up. in_flight is the number of requests at the
    same time.
    """

    capabilities = EmbedderCapabilities()  # the service does not publish any

    def __init__(
        self,
        client: AzureVisionClient,
        *,
        model_version: ModelVersion = "2023-04-15",
        name: str | None = None,
        in_flight: int = 4,
        too_long: TooLong = "truncate",
        max_side_px: int = 1280,
        today: date | None = None,
    ) -> None:
        if model_version not in MODEL_VERSIONS:
            raise InputError(f"model version {model_version!r} is not one of {', '.join(MODEL_VERSIONS)}")
        if in_flight < 1:
            raise InputError(f"in_flight is {in_flight!r}; at least one request must be allowed")
        if too_long not in ("truncate", "error"):
            raise InputError(f"too_long is {too_long!r}; allowed are 'truncate' and 'error'")
        if not _MIN_SIDE_PX <= max_side_px <= _MAX_SIDE_PX:
            raise InputError(f"max_side_px is {max_side_px!r}; allowed are {_MIN_SIDE_PX} to {_MAX_SIDE_PX}")
        self._client = client
        self._in_flight = in_flight
        self._too_long = too_long
        self._max_side_px = max_side_px
        self._warned_of_cut = False
        self.info = EmbedderInfo(
            name=name or f"azure-florence-{model_version}",
            fingerprint=model_version,
            dimension=DIMENSION,
            preprocessing=f"at most {max_side_px} px, JPEG {_JPEG_QUALITY}; texts of {MAX_WORDS} words",
        )
        days = (RETIRES - (today or date.today())).days
        if days < 365:
            when = f"retires in {days} days, on {RETIRES}" if days > 0 else f"was to retire on {RETIRES}"
            message = "%s %s: move its indexes to another model with: florence-rag reembed --to MODEL"
            log.warning(message, self.info.name, when)

    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        """Embed RGB images (H, W, 3) uint8 of any sizes as (N, 1024) float32 of unit length."""
        encode = partial(encode_frame, max_side_px=self._max_side_px)
        return self._embed("retrieval:vectorizeImage", "application/octet-stream", encode, frames)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts of 1 to 70 words as (N, 1024) float32 of unit length; refuse an empty text with an InputError."""
        truncated = [self._truncated(text) for text in texts]
        return self._embed(
            "retrieval:vectorizeText", "application/json", lambda text: json.dumps({"text": text}).encode(), truncated
        )

    def _embed(
        self, operation: str, content_type: str, encode: Callable[[Item], bytes], items: Sequence[Item]
    ) -> np.ndarray:
        """Embed items in their order. After the first failure no further item is sent."""
        if not items:
            return np.zeros((0, DIMENSION), dtype=np.float32)
        with ThreadPoolExecutor(min(self._in_flight, len(items)), "florence-azure") as pool:
            rows = pool.map(lambda item: self._request(operation, encode(item), content_type), items)
            return unit_rows(np.stack(list(rows)))

    def _request(self, operation: str, content: bytes, content_type: str) -> np.ndarray:
        """Send one item and return its vector (1024,), after checking the reply."""
        version, service = self.info.fingerprint, self._client.endpoint
        reply = self._client.post(operation, {"model-version": version}, content, content_type)
        if reply.get("modelVersion") != version:
            raise ModelError(f"{service} answers with model version {reply.get('modelVersion')!r}, not {version!r}")
        try:
            vector = np.asarray(reply.get("vector"))
        except ValueError:  # lists of different lengths
            vector = np.zeros(0)
        if vector.shape != (DIMENSION,) or vector.dtype.kind not in "fi":
            raise ModelError(
                f"{service} answers with a vector of shape {vector.shape}; expected are {DIMENSION} numbers"
            )
        if not 0 < np.abs(vector).max() < 1e9:  # also false for NaN
            raise ModelError(f"{service} answers with a vector that has no direction; try again later")
        return vector

    def _truncated(self, text: str) -> str:
        """Return as much of the text as the service accepts."""
        ends = [word.end() for word in _WORD.finditer(text)]
        if not ends:
            raise InputError(f"the text {text!r} has no word; Azure AI Vision embeds texts of 1 to {MAX_WORDS} words")
        if len(ends) <= MAX_WORDS:
            return text
        if self._too_long == "error":
            raise InputError(f"the text {text[:40]!r}... has {len(ends)} words; Azure AI Vision takes {MAX_WORDS}")
        if not self._warned_of_cut:
            self._warned_of_cut = True
            log.warning("%s reads the first %d words of longer texts", self.info.name, MAX_WORDS)
        return text[: ends[MAX_WORDS - 1]]


def encode_frame(frame: Frame, max_side_px: int = _MAX_SIDE_PX) -> bytes:
    """Encode an RGB image (H, W, 3) uint8 as a JPEG or PNG below 20 MB with sides of 11 px to max_side_px.

    The aspect ratio is kept as far as both limits allow.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
        raise InputError(f"an image must be (H, W, 3) uint8, not {frame.shape} {frame.dtype}")
    image = Image.fromarray(frame)
    scale = max(min(1.0, max_side_px / max(image.size)), _MIN_SIDE_PX / min(image.size))
    width, height = (min(max_side_px, max(_MIN_SIDE_PX, round(side * scale))) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    if max(image.size) < _PNG_SIDE_PX:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()
    encoded = to_jpeg(image, quality=_JPEG_QUALITY)
    if len(encoded) > _MAX_BYTES:
        raise InputError(
            f"an image of {image.width} x {image.height} px takes {len(encoded)} bytes as JPEG, "
            f"and Azure AI Vision takes at most {_MAX_BYTES}; set a smaller max_side_px"
        )
    return encoded
