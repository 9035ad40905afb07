"""Reads the weights in a foreign checkpoint without running code that the file contains."""

import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from florence_rag.errors import ModelError, first_line
from florence_rag.json_values import parse_json
from florence_rag.models.safe_pickle import Placeholder, flatten, safe_pickle

WRAPPERS = (
    *("state_dict", "model", "model_state_dict", "module", "net", "network", "params", "weights"),
    *("model_ema", "ema", "state_dict_ema", "ema_state_dict"),
)
"""The keys of the weights in training states, such as those of Lightning (METER) and UniCL, in order of preference."""

PREFIXES = ("module.", "_orig_mod.", "model.", "ema.")
"""What parallel training, compilation and wrappers put before the names of all weights."""

SETTINGS = ("hyper_parameters", "hparams", "config", "cfg", "args")
"""The keys of the hyper-parameters in training states."""

_MAX_SETTINGS = 10_000

_FOREIGN_FORMATS = (
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file itself: run `git lfs pull` in its repository"),
    (b"\x1f\x8b", "it is a gzip archive: unpack it first"),
    (b"BZh", "it is a bzip2 archive: unpack it first"),
    (b"\xfd7zXZ", "it is an xz archive: unpack it first"),
    (b"7z\xbc\xaf", "it is a 7z archive: unpack it first"),
    (b"\x89HDF", "it is an HDF5 file of Keras or TensorFlow"),
    (b"\x93NUMPY", "it is a NumPy array"),
    (b"GGUF", "it is a GGUF file, whose weights are quantized"),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a checkpoint.

    Args:
        path: The file.
        weights: The tensors by name, without the prefixes of parallel training.
        settings: The hyper-parameters that the file records: numbers, texts and lists by their keys joined by dots.
    """

    path: Path
    weights: dict[str, Tensor]
    settings: dict[str, Any]


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint as `read_checkpoint` does."""
    return read_checkpoint(path).weights


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a .safetensors file, the index of one in several parts, or a PyTorch state dict or training state.

    Raises:
        ModelError: If the file cannot be read, contains no weights, or could only be read by running its code.
    """
    path = Path(path)
    if not path.is_file():
        problem = "it is a folder; give the file in it" if path.is_dir() else "give the path of a weights file"
        raise ModelError(f"no weights file {str(path)!r}: {problem} (.safetensors, .pth, .ckpt, .bin)")
    if re.search(r"-\d+-of-\d+\.\w+$", path.name):
        raise ModelError(
            f"{str(path)!r} holds a part of the weights; give the file that ends in .index.json next to it"
        )
    parts = _shards(path) if path.name.endswith(".index.json") else [path]
    content: Any = {}
    for part in parts:
        read = _read_file(part)
        content = read if len(parts) == 1 else {**content, **_find_weights(read)}
    weights = _without_prefixes(_find_weights(content))
    if not weights:
        raise ModelError(f"{str(path)!r} contains no weights; it should map names to tensors")
    _check_sizes(path, weights, sum(part.stat().st_size for part in parts))
    return Checkpoint(path, weights, _settings(content))


def _read_file(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(512)
    if reason := _foreign_format(head) or (_zip_damage(path) if head.startswith(b"PK") else ""):
        raise _unreadable(path, reason)
    # Recognized by its length and its header, whatever the suffix is.
    fits = head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size
    if not fits and (path.suffix != ".safetensors" or head.startswith(b"PK")):
        return _read_pickle(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        reason = f"{first_line(error)}; the file is cut off or damaged"
        raise ModelError(f"{str(path)!r} is not a readable safetensors file: {reason}; fetch it again") from error


def _foreign_format(head: bytes) -> str:
    """Say what a file is if its first bytes are not those of weights; "" if they may be."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head.strip(b"\0"):
        return f"it {'begins with zeros' if head else 'is empty'}; fetch it again"
    if text.startswith(b"<"):
        return "it is a web page, not the file that the page offers"
    if text.startswith((b"{", b"[")):
        return "it is JSON text, not weights"
    if head.isascii() and text.decode().isprintable():
        return "it is text, not weights"
    return next((what for start, what in _FOREIGN_FORMATS if head.startswith(start)), "")


def _zip_damage(path: Path) -> str:
    """Say what is wrong with a zip archive as a PyTorch file, "" if nothing; torch ignores the checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = {entry.filename.rpartition("/")[2] for entry in entries}
            if "constants.pkl" in names:
                return "it is a TorchScript archive, which holds a program; save the state_dict() of its network"
            if "data.pkl" not in names:
                return "it is a zip archive without data.pkl: unpack it first"
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                return "its archive is compressed, which torch.save never does"
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        return f"its archive is cut off or damaged ({first_line(error)}); fetch it again"
    return f"its archive is damaged in {damaged}; fetch it again" if damaged else ""


def _read_pickle(path: Path) -> Any:
    foreign: list[str] = []
    try:
        return _load(path, weights_only=True)
    except pickle.UnpicklingError:  # training states hold objects next to the weights: replace them by placeholders
        try:
            content = _load(path, weights_only=False, pickle_module=safe_pickle(foreign))
        except Exception as error:  # a damaged pickle fails in as many ways as there are opcodes
            failure: Exception = error
        else:
            if not isinstance(content, Placeholder):
                return content
            failure = ModelError("the whole file is one object")
    except Exception as error:  # as above
        failure = error
    if foreign:
        raise ModelError(
            f"{str(path)!r} is a pickle that only running its code would open ({foreign[0]}), which is refused; on a "
            "machine where you trust it, open it with the program that wrote it, and save its state_dict() by "
            "safetensors.torch.save_file"
        ) from failure
    raise _unreadable(path, _reason(failure)) from failure


def _load(path: Path, **options: Any) -> Any:
    """Load a file of torch.save, whatever its suffix is."""
    with path.open("rb") as file:
        return torch.load(file, map_location="cpu", **options)


def _reason(error: Exception) -> str:
    """Explain an error of unpickling without the advice of torch to switch its safety off."""
    reason = first_line(error)
    if isinstance(error, EOFError | struct.error) or re.search("EOF|ran out|truncated", reason, re.IGNORECASE):
        return "it is cut off; fetch it again"
    detail = "" if re.search("weights|magic number", reason, re.IGNORECASE) else f" ({reason})"
    return f"it is not a file of torch.save{detail}; fetch it again"


def _unreadable(path: Path, reason: str) -> ModelError:
    return ModelError(f"{str(path)!r} is not a readable PyTorch checkpoint: {reason}")


def _shards(index: Path) -> list[Path]:
    """Return the files that an index of transformers lists, which are next to it."""
    try:
        names = sorted(set(parse_json(index.read_bytes())["weight_map"].values()))
        if not names or any(Path(name).name != name for name in names):
            raise ValueError("its files are not next to it")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{str(index)!r} is not a readable index of weights ({type(error).__name__}: {first_line(error)})"
        ) from error
    if absent := [name for name in names if not index.with_name(name).is_file()]:
        raise ModelError(f"{str(index)!r} lists files that are not next to it, missing: {', '.join(absent)}")
    return [index.with_name(name) for name in names]


def _find_weights(content: Any, depth: int = 4) -> dict[str, Tensor]:
    """Return the tensors of a state dict, or of the first one inside a training state."""
    if not isinstance(content, Mapping) or not depth:
        return {}
    inner = (_find_weights(content.get(wrapper), depth - 1) for wrapper in WRAPPERS)
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor) and isinstance(key, str)}
    return next(filter(None, inner), tensors)


def _without_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove prefixes that all names share."""
    while weights and (prefix := next((each for each in PREFIXES if all(k.startswith(each) for k in weights)), "")):
        weights = {key.removeprefix(prefix): tensor for key, tensor in weights.items()}
    return weights


def _check_sizes(path: Path, weights: Mapping[str, Tensor], size: int) -> None:
    """Refuse tensors that claim more values than the file holds, which a pickle can describe in a few bytes."""
    for name, tensor in weights.items():
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise ModelError(f"{str(path)!r}: {name} is not a plain tensor; sparse and quantized weights are not read")
        if tensor.numel() * tensor.element_size() > size:
            raise ModelError(f"{str(path)!r}: {name} claims the shape {tuple(tensor.shape)}, larger than the file")


def _settings(content: Any) -> dict[str, Any]:
    """Return the hyper-parameters of a training state by their keys joined by dots."""
    values = (content.get(key) for key in SETTINGS) if isinstance(content, Mapping) else ()
    recorded = (unwrap_settings(value) for value in values if isinstance(value, Mapping))
    return dict(islice(chain.from_iterable(map(flatten, recorded)), _MAX_SETTINGS))


def unwrap_settings(content: Any) -> Any:
    """Return hyper-parameters without the keys around them, such as Lightning's {"config": {...}}."""
    for _ in SETTINGS:
        inner = content.values() if isinstance(content, Mapping) and content.keys() <= set(SETTINGS) else ()
        content = next(iter(inner), content)
    return content
