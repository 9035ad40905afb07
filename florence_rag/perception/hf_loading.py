"""Opens models of transformers: strictly, and with one line to say what is missing."""

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
    source: str | Path,
    *,
    name: str,
    device: str | None = None,
    offline: bool = False,
    precision: Precision | None = None,
    leftovers: bool = False,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A model in evaluation mode and its processor, which needs no torchvision.

    source: a folder or the name of a repository on the Hugging Face hub. device: by default a GPU where there is one.
    precision: by default bf16 on a GPU and fp32 elsewhere. leftovers: whether files may hold weights that the model has
    no use for, such as heads for other tasks. ModelError where files are missing or do not fit.
    """
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = _dtype(precision, target)
    try:
        model, notes = auto_class.from_pretrained(
            source, dtype=dtype, local_files_only=offline, output_loading_info=True
        )
        processor = _open_processor(model.config, source, {"local_files_only": offline, "backend": "pil"})
    except Exception as error:  # transformers lets errors of all its parts through: of JSON, of tensors, of the network
        raise ModelError(cannot_open(name, source, offline, error)) from error
    check_fit(notes, name, source, FAULTS[:2] if leftovers else FAULTS)
    return model.to(target).eval(), processor


def _open_processor(config: Any, source: str | Path, how: dict[str, Any]) -> ProcessorMixin:
    """Of a model that looks at videos, too, the part for these is left out, as that alone needs torchvision."""
    kind: Any = PROCESSOR_MAPPING.get(type(config), None)
    parts = kind.get_attributes() if kind else ()
    if "video_processor" not in parts:
        return AutoProcessor.from_pretrained(source, **how)  # type: ignore[no-any-return, no-untyped-call]
    readers: dict[str, Any] = {"tokenizer": AutoTokenizer, "image_processor": AutoImageProcessor}
    opened = [readers[part].from_pretrained(source, **how) if part in readers else None for part in parts]
    settings, _ = kind.get_processor_dict(source, **how)
    unchecked = {"check_argument_for_proper_class": lambda *_: None}  # of parts, of which one is None
    pictures_only: Any = type(kind.__name__, (kind,), unchecked)
    return pictures_only.from_args_and_dict(opened, settings)  # type: ignore[no-any-return]


def check_length(tokens: int, config: Any) -> None:
    """InputError where a text, with its picture, has more tokens than the model has positions."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and tokens > limit:
        raise InputError(f"the text takes {tokens} tokens, and the model reads at most {limit}; give a shorter one")


def _dtype(precision: str | None, device: torch.device) -> torch.dtype:
    chosen = precision or ("fp32" if device.type == "cpu" else "bf16")
    if chosen not in _TYPES:
        raise ModelError(f"precision is {precision!r}; allowed are {sorted(_TYPES)!r}")
    return _TYPES[chosen]


def cannot_open(name: str, source: str | Path, offline: bool, error: Exception) -> str:
    """One line: what was wanted, why it is not to be had, and what to do."""
    reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    if Path(source).is_dir():
        return f"{name!r} cannot be opened from the folder {str(source)!r}: {reason}"
    where = "is not in the local cache (offline)" if offline else "could not be fetched"
    return (
        f"{name!r}: {str(source)!r} {where}: {reason.rstrip('.')}; "
        "connect once, or copy the repository into a folder and name the folder"
    )
