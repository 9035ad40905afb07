"""Reads the weights in a foreign checkpoint without running code that the file contains."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from florence_rag.errors import ModelError, first_line

WRAPPERS = ("state_dict", "model")  # the keys of the weights in training states of Lightning (METER) and UniCL


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file, or of a PyTorch checkpoint: a state dict or a training state with one.

    The prefix `module.` of parallel training is removed from their names. It is a ModelError if the file cannot be
    read, contains no weights, or could only be read by running its code.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"no weights file {str(path)!r}; give the path of a .safetensors, .pth or .ckpt file")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _read_pickle(path)
    except SafetensorError as error:
        raise ModelError(f"{str(path)!r} is not a readable safetensors file: {error}; fetch it again") from error
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    weights = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not weights:
        raise ModelError(f"{str(path)!r} contains no weights; it should map names to tensors")
    if all(key.startswith("module.") for key in weights):
        weights = {key.removeprefix("module."): tensor for key, tensor in weights.items()}
    return weights


def _read_pickle(path: Path) -> Any:
    failure: Exception
    foreign: list[str] = []
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # training states hold objects next to the weights: replace them by placeholders
        try:
            content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_safe_pickle(foreign))
            if not isinstance(content, _Placeholder):
                return content
            failure = ModelError("the whole file is one object")
        except Exception as error:  # a damaged pickle fails in as many ways as there are opcodes
            failure = error
    except (RuntimeError, EOFError, OSError) as error:
        failure = error
    if foreign:
        raise ModelError(
            f"{str(path)!r} is a pickle that only running its code would open ({foreign[0]}), which is refused; on a "
            "machine where you trust it, open it with the program that wrote it, and save its state_dict() by "
            "safetensors.torch.save_file"
        ) from failure
    raise ModelError(
        f"{str(path)!r} is not a readable PyTorch checkpoint: {first_line(failure)}; fetch it again"
    ) from failure


class _Placeholder(dict[Any, Any]):
    """Takes the place of a class or function of the file; it accepts every operation of a pickle and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def _ignore(self, _: Any) -> None:
        pass

    __setstate__ = append = extend = add = _ignore
    __hash__ = object.__hash__  # type: ignore[assignment]


class _SafeUnpickler(pickle.Unpickler):
    """Finds the five names that tensors are rebuilt from; every other name becomes a placeholder, without an import."""

    ALLOWED = (
        ("collections", "OrderedDict"),
        ("torch", "Size"),
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
    )

    foreign: list[str]

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the allowed objects or a placeholder; torch finds the storages before it calls this method."""
        if (module, name) in self.ALLOWED:
            return super().find_class(module, name)
        self.foreign.append(f"{module}.{name}")
        return _Placeholder


def _safe_pickle(foreign: list[str]) -> Any:
    """Return a pickle module for torch.load, which adds the names that became placeholders to `foreign`."""
    unpickler = type("Unpickler", (_SafeUnpickler,), {"foreign": foreign})
    return SimpleNamespace(
        __name__="weights", Unpickler=unpickler, load=lambda file, **options: unpickler(file, **options).load()
    )
