"""Opens folders that save_pretrained wrote, strictly: transformers would replace a missing weight by random numbers."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import PreTrainedModel

from florence_rag.errors import ModelError
from florence_rag.models.model_folder import open_network, open_part, opening
from florence_rag.untrusted_text import one_line

Model = TypeVar("Model", bound=PreTrainedModel)

UNFIT_KEYS = ("missing_keys", "mismatched_keys", "unexpected_keys")
"""The lists in the loading information of transformers."""

_kept: ContextVar[list[Mapping[str, Any]] | None] = ContextVar("kept", default=None)


@contextmanager
def loading_info_kept() -> Iterator[list[Mapping[str, Any]]]:
    """Collect the loading information of the networks that another library opens inside the block."""
    kept: list[Mapping[str, Any]] = []
    token = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(token)


def _keeping_info(opened: Callable[..., Any]) -> Any:
    @wraps(opened)
    def open_and_keep(cls: type[PreTrainedModel], *args: Any, **options: Any) -> Any:
        kept = _kept.get()
        if kept is None or options.get("output_loading_info"):
            return opened(cls, *args, **options)
        model, info = opened(cls, *args, **options, output_loading_info=True)
        kept.append(info)
        return model

    return classmethod(open_and_keep)


# sentence-transformers has no option for the loading information, and ignores which weights are missing.
_from_pretrained = vars(PreTrainedModel)["from_pretrained"].__func__
PreTrainedModel.from_pretrained = _keeping_info(_from_pretrained)  # type: ignore[method-assign]


_MOST_GROWTH, _FREE_BYTES = 16, 1 << 30


def _checking_size(load: Callable[..., Any]) -> Any:
    @wraps(load)
    def check_and_load(model: PreTrainedModel, state_dict: Any, files: Any, *args: Any, **options: Any) -> Any:
        needed = sum(each.nbytes for each in (*model.parameters(), *model.buffers()))
        held = sum(os.path.getsize(file) for file in files or ())
        if files and needed > _FREE_BYTES + _MOST_GROWTH * held:
            what = f"its config.json describes a network of {needed / 1e9:,.1f} GB"
            raise ValueError(f"{what}, and its files hold {held / 1e6:,.1f} MB")
        return load(model, state_dict, files, *args, **options)

    return staticmethod(check_and_load)


# Here the network exists without memory. Then each weight that the files lack takes memory, and is then reported.
_load_weights = PreTrainedModel._load_pretrained_model
PreTrainedModel._load_pretrained_model = _checking_size(_load_weights)  # type: ignore[method-assign]


def open_strictly(
    kind: type[Model], folder: str | Path, *, name: str = "", what: str = "", device: str | None = None
) -> Model:
    """Open a model in fp32 and evaluation mode, by default on a GPU if there is one.

    It is a ModelError if files cannot be read or weights do not fit. The message lists these weights, and calls the
    model by its `name` and by `what` the folder should hold, such as "a detector".
    """
    with opening(folder, _cannot_open(folder, name, what or f"a {kind.__name__}"), "; fetch it again"):
        loaded = open_network(kind, folder, dtype=torch.float32, output_loading_info=True)
    model, loading_info = loaded
    check_fit(loading_info, name or kind.__name__, folder)
    if bad := [key for key, tensor in model.named_parameters() if not tensor.isfinite().all()]:
        keys = listed(bad)
        raise ModelError(
            f"{name or kind.__name__!r}: the weights in {str(folder)!r} are not all finite numbers: {keys}"
        )
    opened: Model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    return opened


def open_with_processor(
    kind: type[Model], processor: Any, folder: str | Path, *, name: str, what: str, device: str | None = None
) -> tuple[Model, Any]:
    """Open a model as `open_strictly` does, and the processor of the same folder."""
    model = open_strictly(kind, folder, name=name, what=what, device=device)
    return model, open_processor(processor, folder, name=name, what=what)


def open_processor(kind: Any, folder: str | Path, *, name: str = "", what: str = "") -> Any:
    """Open the processor in the folder of a model; it is a ModelError if there is none, as in `open_strictly`."""
    with opening(folder, _cannot_open(folder, name, what or f"a {kind.__name__}"), "; fetch it again"):
        return open_part(kind, folder)


def _cannot_open(folder: str | Path, name: str, what: str) -> str:
    return f"{f'{name!r}: ' if name else ''}{str(folder)!r} cannot be opened as {what}"


def check_fit(
    loading_info: Mapping[str, Any], name: str, source: str | Path, unfit: Iterable[str] = UNFIT_KEYS
) -> None:
    """Raise a ModelError with the keys if transformers ignored weights of the file or made some up."""
    for kind in unfit:
        if keys := sorted(map(str, loading_info.get(kind) or ())):
            words = kind.replace("_", " ")
            raise ModelError(
                f"{name!r}: the weights in {str(source)!r} do not fit, {len(keys)} {words}: {listed(keys)}"
            )


def listed(keys: Sequence[str], limit: int = 5) -> str:
    """Return the first names of a list, each on one line, and how many more there are."""
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(one_line(key, 100) for key in keys[:limit]) + more
