"""What all models of transformers share: they are opened strictly, and their beam searches become answers."""

import math
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, PreTrainedModel, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from florence_rag.errors import InputError, ModelError
from florence_rag.models.model_folder import check_tokenizer, open_network, open_part, opening
from florence_rag.models.strict_loading import UNFIT_KEYS, check_fit
from florence_rag.perception.base import VQAResult

Precision = Literal["fp32", "bf16"]

_TYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


class TransformersModel:
    """A model in evaluation mode with its processor. Threads may share it. `name` is used in error messages."""

    auto_class: ClassVar[Any]
    """The class of transformers that opens the weights."""
    unused_weights: ClassVar[bool] = True
    """Whether the files may hold weights that the model does not use, such as heads for other tasks."""
    half_on_cpu: ClassVar[bool] = False
    """Whether bf16 is the default on a processor that computes in it, too, because the exact numbers matter little."""
    required_file: ClassVar[str] = "config.json"
    """A file of the authors in whose place transformers would use settings of its own."""

    def __init__(self, model: Any, processor: Any, *, name: str) -> None:
        self._model = model.eval()
        self._processor = processor
        self._name = name
        self._tokenizer_lock = threading.Lock()  # two threads cannot use the tokenizer at the same time

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        name: str,
        device: str | None = None,
        precision: Precision | None = None,
        **options: Any,
    ) -> Self:
        """Open a folder with options of the constructor; by default on a GPU in bf16 if there is one, else in fp32."""
        if not Path(folder, cls.required_file).is_file():
            raise ModelError(f"{cannot_open(name, folder)}: {cls.required_file} is missing; fetch the model again")
        if precision is None and cls.half_on_cpu and computes_in_bf16():
            precision = "bf16"
        model, processor = open_model(
            cls.auto_class, folder, name=name, device=device, precision=precision, unused_weights=cls.unused_weights
        )
        return cls(model, processor, name=name, **options)

    def _check_length(self, inputs: Any) -> None:
        """Raise an InputError if a text has, with its image, more tokens than the model has positions."""
        tokens = inputs["input_ids"].shape[1]
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        if limit is not None and tokens > limit:
            raise InputError(f"the text takes {tokens} tokens, and the model reads at most {limit}; give a shorter one")


def computes_in_bf16() -> bool:
    """Return whether this processor multiplies matrices in bf16, instead of converting them to fp32."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.10 may lack it
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def open_model(
    auto_class: Any,
    folder: str | Path,
    *,
    name: str,
    device: str | None = None,
    precision: Precision | None = None,
    unused_weights: bool = False,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Open the model in a folder, and its processor, which needs no torchvision.

    The options are those of `TransformersModel`. Files that are missing or do not fit are a ModelError.
    """
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = _TYPES.get(precision or ("fp32" if target.type == "cpu" else "bf16"))
    if dtype is None:
        raise ModelError(f"precision is {precision!r}; allowed are {sorted(_TYPES)!r}")
    with opening(folder, cannot_open(name, folder)):
        model, notes = open_network(auto_class, folder, dtype=dtype, output_loading_info=True)
        processor = _open_processor(model.config, folder)
    check_tokenizer(processor.tokenizer, model.config, folder, cannot_open(name, folder))
    check_fit(notes, name, folder, UNFIT_KEYS[:2] if unused_weights else UNFIT_KEYS)
    return model.to(target).eval(), processor


def _open_processor(config: Any, folder: str | Path) -> ProcessorMixin:
    """Open a processor, with its tokenizer, and without its part for videos, which alone needs torchvision."""
    kind: Any = PROCESSOR_MAPPING.get(type(config), None)
    parts = kind.get_attributes() if kind else ()
    openers: dict[str, Any] = {"tokenizer": AutoTokenizer, "image_processor": AutoImageProcessor}
    if "video_processor" not in parts:
        processor = open_part(AutoProcessor, folder, backend="pil")
        if not hasattr(processor, "image_processor"):  # the parts of an encoder-decoder have no common processor
            processor = open_part(AutoImageProcessor, folder, backend="pil")
            processor.tokenizer = open_part(AutoTokenizer, folder, backend="pil")
        return processor  # type: ignore[no-any-return]
    opened = [open_part(openers[part], folder, backend="pil") if part in openers else None for part in parts]
    settings, _ = kind.get_processor_dict(folder, local_files_only=True)
    unchecked = {"check_argument_for_proper_class": lambda *_: None}  # one of the parts is None
    images_only: Any = type(kind.__name__, (kind,), unchecked)
    return images_only.from_args_and_dict(opened, settings)  # type: ignore[no-any-return]


def cannot_open(name: str, folder: str | Path) -> str:
    """Return the beginning of the message of an error, which says which model cannot be opened."""
    return f"{name!r} cannot be opened from the folder {str(folder)!r}"


def beams_to_result(beams: Iterable[tuple[str, float]]) -> VQAResult:
    """Rank beams, given as (text, log-probability of the whole text).

    The probabilities of beams with the same text add up. The sum of all candidates is at most one, because the search
    does not follow every beam.
    """
    confidences: dict[str, float] = {}
    for text, log_probability in beams:
        answer = " ".join(text.split())
        confidences[answer] = confidences.get(answer, 0.0) + math.exp(min(0.0, log_probability))
    ranked = sorted(((answer, min(1.0, round(p, 4))) for answer, p in confidences.items()), key=lambda pair: -pair[1])
    return VQAResult.ranked([pair for pair in ranked if pair[0]])
