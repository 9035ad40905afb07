"""Opens folders that save_pretrained wrote, strictly: a missing weight would be random, and nobody would know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from florence_rag.errors import ModelError

Model = TypeVar("Model", bound=PreTrainedModel)

FAULTS = ("missing_keys", "mismatched_keys", "unexpected_keys")
_LISTED = 5


def open_strictly(kind: type[Model], folder: str | Path, *, device: str | None = None) -> Model:
    """A model in fp32 and evaluation mode. device: a torch device; a GPU is used where there is one.

    Raises ModelError, in one line, for files that cannot be read and for weights that do not fit, which it lists.
    """
    try:
        with _without_bars():
            loaded: Any = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    except Exception as error:  # any error inside transformers: JSON, safetensors, other shapes
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(f"{str(folder)!r} cannot be opened as a {kind.__name__}: {reason}; fetch it again") from error
    opened: Model = _fitting(loaded, kind.__name__, folder, device)
    return opened


def open_with_processor(
    kind: type[Model], processor: Any, folder: str | Path, *, name: str, what: str, device: str | None = None
) -> tuple[Model, Any]:
    """As open_strictly, from this folder alone, with its image processor.

    name, what: how ModelError calls the model, and what it should have been, such as "a detector".
    """
    try:
        how: dict[str, Any] = {"local_files_only": True, "output_loading_info": True}
        with _without_bars():
            loaded: Any = kind.from_pretrained(folder, dtype=torch.float32, **how)
        looks = processor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise ModelError(f"{name!r}: {str(folder)!r} cannot be opened as {what}: {reason}") from error
    return _fitting(loaded, name, folder, device), looks


@contextmanager
def _without_bars() -> Iterator[None]:
    """Of weights that load in milliseconds, a bar each, in every notebook."""
    if not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _fitting(loaded: Any, name: str, folder: str | Path, device: str | None) -> Any:
    """The model, on its device and in evaluation mode, if all its weights are those of the folder."""
    model, notes = loaded
    check_fit(notes, name, folder)
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()


def check_fit(notes: Mapping[str, Any], name: str, source: str | Path, faults: Iterable[str] = FAULTS) -> None:
    """ModelError, with the keys, where transformers left weights out or made some up."""
    for what in faults:
        if keys := sorted(map(str, notes.get(what) or ())):
            listed = ", ".join(keys[:_LISTED]) + (" ..." if len(keys) > _LISTED else "")
            words = what.replace("_", " ")
            raise ModelError(f"{name!r}: the weights in {str(source)!r} do not fit, {len(keys)} {words}: {listed}")
