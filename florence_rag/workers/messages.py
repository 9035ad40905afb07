"""Sends Python objects through a pipe. The buffers of arrays are neither pickled nor copied."""

import pickle
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

_SIZE = struct.Struct("<Q")


def write_message(pipe: BinaryIO, message: Any) -> None:
    """Write an object. Nothing is written if it cannot be pickled."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(body), *(buffer.raw() for buffer in buffers)]
    pipe.write(_SIZE.pack(len(parts)) + b"".join(_SIZE.pack(part.nbytes) for part in parts))
    for part in parts:
        pipe.write(part)
    pipe.flush()


def read_parts(pipe: BinaryIO) -> list[bytearray]:
    """Read the parts of an object, which `join_parts` makes of them.

    Raises:
        EOFError: If the pipe ends before or within it.
    """
    (count,) = _SIZE.unpack(_read(pipe, _SIZE.size))
    sizes = [size for (size,) in _SIZE.iter_unpack(_read(pipe, count * _SIZE.size))]
    return [_read(pipe, size) for size in sizes]


def join_parts(parts: Sequence[bytearray]) -> Any:
    """Return the object that `write_message` has written in these parts."""
    body, *buffers = parts
    return pickle.loads(body, buffers=buffers)


def _read(pipe: BinaryIO, size: int) -> bytearray:
    data = bytearray(size)
    if pipe.readinto(data) < size:  # type: ignore[attr-defined]
        raise EOFError
    return data
