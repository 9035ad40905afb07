"""Keeps copies of the footers of Parquet files, which say where in the file everything is."""

import struct
import zlib
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

_SUFFIX = ".footer"
_TAIL_BYTES = 8  # the length of the footer, and the mark at the end of the file
_HEAD = struct.Struct("<IQ")  # the checksum of the copy, and the size of the file


def keep_footer(path: Path) -> None:
    """Copy the footer of a Parquet file, and delete the copies of files that no longer exist.

    The file is complete without the copy, so nothing is raised if that cannot be written.
    """
    copy = _copy_of(path)
    with suppress(OSError):
        copy.parent.mkdir(exist_ok=True)
        with path.open("rb") as file:
            size = file.seek(-_TAIL_BYTES, 2) + _TAIL_BYTES
            length = int.from_bytes(file.read(4), "little") + _TAIL_BYTES
            file.seek(-length, 2)
            footer = file.read()
        copy.write_bytes(_HEAD.pack(zlib.crc32(footer), size) + footer)
        for old in copy.parent.glob(f"*{_SUFFIX}"):
            if not (path.parents[1] / old.name.partition("_")[0] / old.stem).exists():
                old.unlink()


def with_kept_footer(path: Path) -> pa.Buffer | None:
    """Return the content of a file that has lost its end, with the copy of its footer; None if there is no copy."""
    with suppress(OSError, struct.error):
        kept, content = _copy_of(path).read_bytes(), path.read_bytes()
        (checksum, size), footer = _HEAD.unpack_from(kept), kept[_HEAD.size :]
        if zlib.crc32(footer) == checksum and len(footer) < size:
            return pa.py_buffer(content[: size - len(footer)].ljust(size - len(footer), b"\0") + footer)
    return None


def _copy_of(path: Path) -> Path:
    return path.parents[1] / "footers" / f"{path.name}{_SUFFIX}"
