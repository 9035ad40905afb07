"""The weights in a file of somebody else's, without running what the file contains."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from florence_rag.errors import ModelError

WRAPPERS = ("state_dict", "model")  # where Lightning (METER) and UniCL put the weights among optimizer states


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Original key -> tensor, of a .safetensors file or a PyTorch checkpoint, wrapped or bare.

    A `module.` that a parallel trainer left in front of every key is taken off. Anything but tensors is dropped.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"no weights file {str(path)!r}; give the path of a .safetensors, .pth or .ckpt file")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    weights = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not weights:
        raise ModelError(f"{str(path)!r} holds no weights; it should map names to tensors")
    if all(key.startswith("module.") for key in weights):
        weights = {key.removeprefix("module."): tensor for key, tensor in weights.items()}
    return weights


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{str(path)!r} is no readable safetensors file: {error}; fetch it again") from error


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        pass  # Training states hold objects next to the weights: read on, with placeholders for them.
    except (RuntimeError, EOFError, OSError) as error:
        raise _unreadable(path, error) from error
    foreign: list[str] = []
    try:
        content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_reader(foreign))
    except Exception as error:  # a damaged pickle fails in as many ways as there are opcodes
        raise (_refused(path, foreign) if foreign else _unreadable(path, error)) from error
    if isinstance(content, _StandIn):
        raise _refused(path, foreign)
    return content


def _refused(path: Path, foreign: list[str]) -> ModelError:
    return ModelError(
        f"{str(path)!r} is a pickle that only running its code would open ({foreign[0]}), which is refused; on a "
        "machine where you trust it, open it with what wrote it, and keep its state_dict() by "
        "safetensors.torch.save_file"
    )


def _unreadable(path: Path, error: Exception) -> ModelError:
    reason = str(error).partition("\n")[0]
    return ModelError(f"{str(path)!r} is no readable PyTorch checkpoint: {reason}; fetch it again")


class _StandIn(dict[Any, Any]):
    """Takes the place of a class or function of the file: accepts what a pickle does to it and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, _: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        """As a list would."""

    def extend(self, _: Any) -> None:
        """As a list would."""

    def add(self, _: Any) -> None:
        """As a set would."""

    __hash__ = object.__hash__  # type: ignore[assignment]


class _WeightsUnpickler(pickle.Unpickler):
    """Finds what tensors are rebuilt from; for every other name it has a stand-in, and nothing is imported."""

    FOUND = (
        ("collections", "OrderedDict"),
        ("torch", "Size"),
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
    )

    foreign: list[str]

    def find_class(self, module: str, name: str) -> Any:
        """The five harmless names, or a stand-in. torch itself finds the storages before it asks here."""
        if (module, name) in self.FOUND:
            return super().find_class(module, name)
        self.foreign.append(f"{module}.{name}")
        return _StandIn


def _reader(foreign: list[str]) -> Any:
    """What torch.load takes for the module pickle; foreign is filled with the names that got a stand-in."""
    unpickler = type("Unpickler", (_WeightsUnpickler,), {"foreign": foreign})
    return SimpleNamespace(
        __name__="weights", Unpickler=unpickler, load=lambda file, **options: unpickler(file, **options).load()
    )
