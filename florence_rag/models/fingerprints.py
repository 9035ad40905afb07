"""Digests of the weights of models, which are computed once for each file and then remembered."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from florence_rag.errors import ModelError
from florence_rag.models.registry import state_file

_SMALL = 64 << 20
"""Files of fewer bytes in all are read each time, which takes less than 0.1 s."""

_MAX_REMEMBERED = 1000


def fingerprint(folder: Path) -> str:
    """Return a digest of the weights in a folder: 16 hex digits, equal for equal weights.

    The digest of large weights is remembered for the path, size and modification time of their files.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"no weights in {str(folder)!r}: expected *.safetensors")
    states = [(path.resolve(), path.stat()) for path in files]
    if sum(state.st_size for _, state in states) < _SMALL:
        return _digest(files)
    key = json.dumps([(str(path), state.st_size, state.st_mtime_ns) for path, state in states])
    remembered = _read()
    if key not in remembered:
        remembered[key] = _digest(files)
        _write(remembered)
    return remembered[key]


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _read() -> dict[str, str]:
    with suppress(OSError, ValueError):
        content = json.loads(state_file("fingerprints.json").read_text("utf-8"))
        if isinstance(content, dict) and all(isinstance(each, str) for each in content.values()):
            return content
    return {}


def _write(remembered: dict[str, str]) -> None:
    path = state_file("fingerprints.json")
    part = path.with_suffix(".part")
    with suppress(OSError):  # without a writable home the digest is computed each time
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(dict([*remembered.items()][-_MAX_REMEMBERED:]), indent=0), "utf-8")
        part.replace(path)
