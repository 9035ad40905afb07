"""Writes the files of all kinds into a folder."""

import os
from itertools import islice
from pathlib import Path
from random import Random

from hostile_files import containers, documents, images, names, sidecars, videos
from hostile_files.damaged import damaged
from hostile_files.good import good_files

_BOMBS = {"images": images, "videos": videos, "documents": documents, "containers": containers, "sidecars": sidecars}
KINDS = ("good", "cut", "flip", "suffix", *_BOMBS, "names")
"""The kinds of files, as the table lists them."""
_kinds: dict[str, str] = {}


def kind_of(path: str) -> str:
    """Return the kind of a file that `write_files` has written."""
    name = os.path.basename(path)
    return _kinds.get(name) or next((kind for kind in KINDS[:4] if name.startswith(kind)), "names")


def write_files(folder: Path, seed: int, every: int = 1) -> list[str]:
    """Write all files, and return the containers, which an index run takes only by name."""
    good = good_files()
    for suffix, data in good.items():
        for number in range(3):
            (folder / f"good{number}{suffix}").write_bytes(data)
    files = [(name, data) for name, data in islice(damaged(good, Random(seed)), 0, None, every)]
    for kind, module in _BOMBS.items():
        for name, data in islice(module.bombs(good), 0, None, every):
            _kinds[name] = kind
            files.append((name, data))
    for name, data in files:
        (folder / name).write_bytes(data)
    for raw, data in names.odd_names(good):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + raw)).write_bytes(data)
    names.make_no_files(folder)
    return [str(path) for path in sorted(folder.iterdir()) if path.suffix in (".tar", ".parquet", ".arrow")]
