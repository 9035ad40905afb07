"""Digests of the weights of models, which are computed once for each file and then remembered."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from florence_rag.errors import ModelError
from florence_rag.models.state_cache import StateCache, file_key

_SMALL = 64 << 20
"""Files of fewer bytes in all are read each time, which takes less than 0.1 s."""

_remembered = StateCache("fingerprints.json")


def fingerprint(folder: Path) -> str:
    """Return a digest of the weights in a folder: 16 hex digits, equal for equal weights.

    The digest of large weights is remembered for the path, size and modification time of their files.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"no weights in {str(folder)!r}: expected *.safetensors")
    if sum(path.stat().st_size for path in files) < _SMALL:
        return _digest(files)
    key = file_key(files)
    if not (digest := _remembered.read().get(key)):
        digest = _digest(files)
        _remembered.add({key: digest})
    return digest


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
