"""Opens models of the sentence-transformers library: from files, safetensors only, without code of the model's own.

Its documentation: https://sbert.net. A model is a folder, as its `save_pretrained` or the hub lays it out.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.model import BaseModel
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from florence_rag.errors import InputError, ModelError
from florence_rag.models.fingerprints import fingerprint
from florence_rag.models.inference_backends import Backend, Precision, Run, accelerate
from florence_rag.models.model_folder import check_files, check_tokenizer, opening
from florence_rag.models.registry import read_config
from florence_rag.models.strict_loading import UNFIT_KEYS, check_fit, listed, loading_info_kept
from florence_rag.telemetry import get_logger
from florence_rag.text_arguments import to_path

Model = TypeVar("Model", bound=BaseModel)

_POOLER = re.compile(r"(^|\.)pooler\.")
"""The weights of a layer that models for texts do not use, because sentence-transformers pools the tokens itself."""
log = get_logger(__name__)

PRECISIONS: Mapping[str, torch.dtype] = MappingProxyType({"fp32": torch.float32, "bf16": torch.bfloat16})


def model_folder(source: str | Path) -> Path:
    """Return a folder that holds a model with safetensors."""
    folder = to_path(source)
    if not folder.is_dir():
        raise ModelError(f"there is no folder {str(source)!r}; give one, or load 'owner/name' with load_model")
    if not any(folder.rglob("*.safetensors")):
        check_files(folder)
        raise ModelError(f"{str(source)!r} has no *.safetensors; fetch the model again, or choose another one")
    return folder


def open_model(kind: type[Model], folder: Path, *, device: str | None, precision: str | None, **options: Any) -> Model:
    """Open the model of a folder in evaluation mode, by default on a GPU if there is one, and in fp32."""
    if precision not in (None, *PRECISIONS):
        raise InputError(f"precision {precision!r} is not known here; use {' or '.join(PRECISIONS)}")
    target = device or ("cuda" if torch.cuda.is_available() else "cpu")
    weights = {"dtype": PRECISIONS[precision or "fp32"], "use_safetensors": True}
    options |= {"local_files_only": True, "trust_remote_code": False, "model_kwargs": weights}
    problem = f"{str(folder)!r} cannot be opened as a {kind.__name__}"
    with opening(folder, problem), loading_info_kept() as infos:
        model = kind(str(folder), device=target, **options)
    check_tokenizer(model.tokenizer, model.config, folder, problem)
    may_lack_pooler = kind is SentenceTransformer and not has_image_encoder(folder)
    for info in infos:
        missing = [key for key in info["missing_keys"] if not (may_lack_pooler and _POOLER.search(key))]
        check_fit({**info, "missing_keys": missing}, kind.__name__, folder, UNFIT_KEYS[:2])
        if unused := sorted(info["unexpected_keys"]):
            log.warning("%r does not use %d weights of its file: %s", str(folder), len(unused), listed(unused))
    return model.eval()


class _PooledFeatures(nn.Module):
    """An image encoder that returns only its pooled features."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C)."""
        features: Tensor = self.encoder(pixel_values=pixels).pooler_output
        return features


class _AcceleratedEncoder(nn.Module):
    """Takes the place of an image encoder and runs it on an inference backend."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        return BaseModelOutputWithPooling(pooler_output=self.run(pixel_values))


def has_image_encoder(folder: Path) -> bool:
    """Return whether images of one size go through an encoder of their own, as in CLIP and SigLIP."""
    return any(read_config(file).get("model_type") in ("clip", "siglip") for file in folder.rglob("config.json"))


def accelerate_images(model: BaseModel, *, backend: Backend, precision: Precision) -> None:
    """Run the image encoder in lower precision or on another backend; texts are embedded as before.

    The library's own backends need its companion optimum, of which no release works with transformers 5.
    """
    network: Any = model[0].model
    side = network.config.vision_config.image_size
    example = torch.zeros(2, 3, side, side, device=network.device)
    encoder = _PooledFeatures(network.vision_model).eval()
    run = accelerate(encoder, "forward", example, backend=backend, precision=precision)
    network.vision_model = _AcceleratedEncoder(run)


def weights_fingerprint(folder: Path) -> str:
    """Return a digest of the weights of all parts of a model: 16 hex digits, equal for equal weights."""
    parts = [fingerprint(part) for part in sorted({file.parent for file in folder.rglob("*.safetensors")})]
    return parts[0] if len(parts) == 1 else hashlib.blake2b("".join(parts).encode(), digest_size=8).hexdigest()


def is_cross_encoder(folder: Path) -> bool:
    """Return whether the folder holds a model that scores pairs.

    The library would open it as an embedder without an error, and an embedder as a cross-encoder with a random head.
    """
    settings = read_config(folder / "config_sentence_transformers.json")
    return settings.get("model_type") == "CrossEncoder" or _architecture(folder).endswith("ForSequenceClassification")


def has_language_head(folder: Path) -> bool:
    """Return whether the folder holds a language model, which can answer "yes" or "no" about a pair."""
    return _architecture(folder).endswith("ForCausalLM")


def is_vision_language_model(folder: Path) -> bool:
    """Return whether the folder holds a model that generates text about images and is not prepared for the library."""
    generates = _architecture(folder).endswith("ForConditionalGeneration")
    return generates and not (folder / "config_sentence_transformers.json").is_file()


def _architecture(folder: Path) -> str:
    architectures = read_config(folder / "config.json").get("architectures") or [""]
    return str(architectures[0])
