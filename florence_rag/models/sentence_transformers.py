"""Opens models of the sentence-transformers library: from files, safetensors only, without code of the model's own.

Its documentation: https://sbert.net. A model is a folder, as its `save_pretrained` or the hub lays it out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from florence_rag.errors import InputError, MissingExtraError, ModelError
from florence_rag.models.inference_backends import Backend, Precision, Run, accelerated
from florence_rag.models.registry import fingerprint

try:
    from sentence_transformers.base.model import BaseModel
except ImportError as error:
    raise MissingExtraError("sentence-transformers", "sentence-transformers") from error

Model = TypeVar("Model", bound=BaseModel)

PRECISIONS: Mapping[str, torch.dtype] = MappingProxyType({"fp32": torch.float32, "bf16": torch.bfloat16})
_TWO_TOWERS = frozenset({"clip", "siglip"})


def model_folder(source: str | Path) -> Path:
    """Return a folder that holds a model with safetensors."""
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise ModelError(f"there is no folder {str(source)!r}; give one, or load 'owner/name' with load_model")
    if not any(folder.rglob("*.safetensors")):
        raise ModelError(
            f"{str(source)!r} has no *.safetensors; weights in other forms may be pickles, which are not opened: "
            "convert them on a machine that may run them, or choose another model"
        )
    return folder


def open_model(kind: type[Model], folder: Path, *, device: str | None, precision: str | None, **options: Any) -> Model:
    """The model of a folder in this class, in evaluation mode.

    device: a torch device; a GPU is used where there is one. precision: fp32, which is the default, or bf16.
    """
    if precision not in (None, *PRECISIONS):
        raise InputError(f"precision {precision!r} is not known here; use {' or '.join(PRECISIONS)}")
    target = device or ("cuda" if torch.cuda.is_available() else "cpu")
    weights = {"dtype": PRECISIONS[precision or "fp32"], "use_safetensors": True}
    try:
        model = kind(str(folder), device=target, local_files_only=True, model_kwargs=weights, **options)
    except Exception as error:  # any error that the files cause in the library or transformers
        raise ModelError(f"{str(folder)!r} cannot be opened as a {kind.__name__}: {first_line(error)}") from error
    return model.eval()


class _Pooled(nn.Module):
    """An image encoder reduced to its pooled features."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def pooled(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C)."""
        features: Tensor = self.tower(pixel_values=pixels).pooler_output
        return features


class _Engine(nn.Module):
    """Replaces the image encoder and returns only pooled features."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        return BaseModelOutputWithPooling(pooler_output=self.run(pixel_values))


def has_image_tower(folder: Path) -> bool:
    """Whether images of one size go through an encoder of their own, as in CLIP and SigLIP."""
    configs = [_read(file) for file in folder.rglob("config.json")]
    return any(config.get("model_type") in _TWO_TOWERS for config in configs)


def accelerate_images(model: BaseModel, *, backend: Backend, precision: Precision) -> None:
    """Run the image encoder in fewer bits or on another engine, see acceleration.py; texts are embedded as before.

    The library's own engines need its companion optimum, of which no release works with transformers 5.
    """
    network: Any = model[0].model
    side = network.config.vision_config.image_size
    example = torch.zeros(2, 3, side, side, device=network.device)
    tower = _Pooled(network.vision_model).eval()
    network.vision_model = _Engine(accelerated(tower, "pooled", example, backend=backend, precision=precision))


def weights_fingerprint(folder: Path) -> str:
    """Digest of the weights of all parts of a model: 16 hex digits, equal for equal weights."""
    parts = [fingerprint(part) for part in sorted({file.parent for file in folder.rglob("*.safetensors")})]
    return parts[0] if len(parts) == 1 else hashlib.blake2b("".join(parts).encode(), digest_size=8).hexdigest()


def is_cross_encoder(folder: Path) -> bool:
    """Return whether the folder holds a model that scores pairs.

    The library would open it as an embedder without an error, and an embedder as a cross-encoder with a random head.
    """
    settings = _read(folder / "config_sentence_transformers.json")
    return settings.get("model_type") == "CrossEncoder" or _network(folder).endswith("ForSequenceClassification")


def has_language_head(folder: Path) -> bool:
    """Whether the files are those of a language model, which can be asked for "yes" or "no" about a pair."""
    return _network(folder).endswith("ForCausalLM")


def talks_of_pictures(folder: Path) -> bool:
    """Return whether the folder holds a model that generates text about images.

    Such a folder has no configuration of sentence-transformers.
    """
    writes = _network(folder).endswith("ForConditionalGeneration")
    return writes and not (folder / "config_sentence_transformers.json").is_file()


def _network(folder: Path) -> str:
    architectures = _read(folder / "config.json").get("architectures") or [""]
    return str(architectures[0])


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}
    except ValueError as error:
        raise ModelError(f"{str(path)!r} is no JSON ({error}); fetch it again") from error


def first_line(error: Exception) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{lines[0][:300]}" if lines else type(error).__name__
