"""Opens the models of transformers strictly, and reports in one line what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, PreTrainedModel, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from florence_rag.errors import InputError, ModelError
from florence_rag.models.strict_loading import FAULTS, check_fit

Precision = Literal["fp32", "bf16"]

_TYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def open_model(
    auto_class: Any,
    folder: str | Path,
    *,
    name: str,
    device: str | None = None,
    precision: Precision | None = None,
    unused_weights: bool = False,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Open the model in a folder in evaluation mode, and its processor, which needs no torchvision.

    By default the model runs on a GPU in bf16 if there is one, else on the CPU in fp32. `unused_weights` says whether
    the files may hold weights that the model does not use, such as heads for other tasks. Files that are missing or do
    not fit are a ModelError.
    """
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = _dtype(precision, target)
    try:
        model, notes = auto_class.from_pretrained(folder, dtype=dtype, local_files_only=True, output_loading_info=True)
        processor = _open_processor(model.config, folder, {"local_files_only": True, "backend": "pil"})
    except Exception as error:  # transformers passes on the errors of all its parts: of JSON, of tensors ...
        raise cannot_open(name, folder, error) from error
    check_fit(notes, name, folder, FAULTS[:2] if unused_weights else FAULTS)
    return model.to(target).eval(), processor


def _open_processor(config: Any, folder: str | Path, options: dict[str, Any]) -> ProcessorMixin:
    """Open a processor without its part for videos, which alone needs torchvision."""
    kind: Any = PROCESSOR_MAPPING.get(type(config), None)
    parts = kind.get_attributes() if kind else ()
    if "video_processor" not in parts:
        return AutoProcessor.from_pretrained(folder, **options)  # type: ignore[no-any-return, no-untyped-call]
    openers: dict[str, Any] = {"tokenizer": AutoTokenizer, "image_processor": AutoImageProcessor}
    opened = [openers[part].from_pretrained(folder, **options) if part in openers else None for part in parts]
    settings, _ = kind.get_processor_dict(folder, **options)
    unchecked = {"check_argument_for_proper_class": lambda *_: None}  # one of the parts is None
    images_only: Any = type(kind.__name__, (kind,), unchecked)
    return images_only.from_args_and_dict(opened, settings)  # type: ignore[no-any-return]


def check_length(tokens: int, config: Any) -> None:
    """Raise an InputError if a text has, with its image, more tokens than the model has positions."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and tokens > limit:
        raise InputError(f"the text takes {tokens} tokens, and the model reads at most {limit}; give a shorter one")


def _dtype(precision: str | None, device: torch.device) -> torch.dtype:
    chosen = precision or ("fp32" if device.type == "cpu" else "bf16")
    if chosen not in _TYPES:
        raise ModelError(f"precision is {precision!r}; allowed are {sorted(_TYPES)!r}")
    return _TYPES[chosen]


def cannot_open(name: str, folder: str | Path, error: Exception) -> ModelError:
    """Return an error of one line that says which model cannot be opened, and why."""
    reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return ModelError(f"{name!r} cannot be opened from the folder {str(folder)!r}: {reason}")
