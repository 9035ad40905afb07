"""Unpickles the weights and settings of a foreign checkpoint without running code that the file names."""

import pickle
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

_MAX_DEPTH = 8


class Placeholder(dict[Any, Any]):
    """Takes the place of an object whose class is not allowed, and keeps its items and attributes as its own items."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):  # the second part holds the slots
            if isinstance(part, dict):
                self.update(part)

    def _ignore(self, _: Any) -> None:
        pass

    append = extend = add = _ignore
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
        return Placeholder


def safe_pickle(foreign: list[str]) -> Any:
    """Return a pickle module for torch.load, which adds the names that became placeholders to `foreign`."""
    unpickler = type("Unpickler", (_SafeUnpickler,), {"foreign": foreign})
    return SimpleNamespace(
        __name__="weights", Unpickler=unpickler, load=lambda file, **options: unpickler(file, **options).load()
    )


def flatten(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the numbers, texts and lists in nested mappings, under their keys joined by dots.

    Objects that became placeholders count as mappings: a Namespace, a CfgNode of yacs, a DictConfig of OmegaConf. None
    is no value, and neither is OmegaConf's mark of a missing value or its reference to another one.
    """
    value = _content(value)
    if isinstance(value, Mapping):
        if depth < _MAX_DEPTH:
            for key, item in value.items():
                if isinstance(key, str):
                    yield from flatten(item, f"{name}.{key}" if name else key, depth + 1)
    elif isinstance(value, list | tuple):
        items = [_content(item) for item in value]
        if all(isinstance(item, str | int | float) for item in items):
            yield name, items
    elif isinstance(value, int | float) or (isinstance(value, str) and not value.startswith(("${", "???"))):
        yield name, value


def _content(value: Any) -> Any:
    """Return what a container or a value of OmegaConf holds, and any other value as it is."""
    if isinstance(value, Placeholder) and "_metadata" in value:
        return value.get("_content", value.get("_val"))
    return value
