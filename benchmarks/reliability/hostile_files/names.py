"""Files with odd names, and what is no file."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

_NAMES = (b"bad\xff\xfe", b"new\nline", b"esc\x1b[31m", b"quote'\"\\", b"%s%n", b"-rf", b"{braces}[0]", b"n" * 251)
_LINKS = {"loop.png": "loop.png", "gone.jpg": "/none/x.jpg", "zero.jpg": "/dev/zero", "random.mp4": "/dev/urandom"}


def odd_names(good: dict[str, bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield names and bytes of good images."""
    for name in (*_NAMES, "\u202egpj.exe".encode(), b"[x](javascript:alert(1))"):
        yield name + b".jpg", good[".jpg"]
    yield b"<img src=x onerror=alert(1)>.png", good[".png"]


def make_no_files(folder: Path) -> None:
    """Make what is no file: pipes, sockets, devices behind links, and links that lead round."""
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe.txt")
    (folder / "folder.jpg").mkdir()
    for name, target in {**_LINKS, "up": "..", "self": ".", "environment.txt": "/proc/self/environ"}.items():
        (folder / name).symlink_to(target)
    with socket.socket(socket.AF_UNIX) as opened:
        before = Path.cwd()
        os.chdir(folder)  # the name of a socket may have only 108 bytes
        opened.bind("socket.png")
        os.chdir(before)
