"""Fuzz one target of fuzz.py with atheris, which mutates the inputs that reach new code: fuzz.py --coverage runs this.

    python benchmarks/reliability/fuzz_coverage.py subtitles --repeat BASE64

Of an input, the first byte says how many of the next ones decide what the target draws at random, and the rest is the
text, so that mutations reach both. The words of the grammar are the dictionary of libFuzzer. The inputs that reach
new code are kept in a folder, and a later run goes on with them. Each kind of fault is reported once.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from pathlib import Path
from random import Random
from typing import Annotated

import atheris
import typer

with atheris.instrument_imports(include=["florence_rag"]):
    import fuzz

_SLOWDOWN = 5.0
"""Code that records its coverage may take so many times as long."""
_MAX_LENGTH = 4_096


class Bytes(Random):
    """A generator of random numbers that takes its bits from bytes, and gives zeros after the last one."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data, self._position = data, 0

    def getrandbits(self, k: int, /) -> int:
        """Return the next k bits."""
        size = (k + 7) // 8
        taken = self._data[self._position : self._position + size]
        self._position += size
        return int.from_bytes(taken, "little") & ((1 << k) - 1)

    def random(self) -> float:
        """Return a number of one byte, so that one mutation is one decision."""
        return self.getrandbits(8) / 256


def check(target: fuzz.Target, data: bytes) -> tuple[float, str]:
    """Return the processor time of an input in seconds, and its fault or an empty text."""
    drawn = 1 + (data[0] if data else 0)
    try:
        text = data[drawn:].decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        text = data[drawn:].decode("utf-8", "replace")
    return fuzz.judge(target, text, Bytes(data[1:drawn]), _SLOWDOWN)


def explore(target: fuzz.Target, seed: int, seconds: float, folder: Path) -> None:
    """Fuzz until the time is over, write the counts to a file, and end the process: libFuzzer never returns."""
    count, slowest, faults, end = 0, 0.0, dict[str, str](), time.monotonic() + seconds

    def one(data: bytes) -> None:
        nonlocal count, slowest
        took, fault = check(target, data)
        count, slowest = count + 1, max(slowest, took)
        if fault:
            faults.setdefault(fault.rsplit(" at ")[-1], f"{base64.b64encode(data).decode()}: {fault}")
        if time.monotonic() > end:
            (folder / "counts.json").write_text(json.dumps([count, slowest, [*faults.values()]]))
            os._exit(0)

    words, corpus = folder / "words.txt", folder / "corpus"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in {*target.grammar} if word))
    corpus.mkdir(exist_ok=True)
    options = [f"-dict={words}", f"-seed={seed}", f"-max_len={_MAX_LENGTH}"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02X}" for byte in word.encode())


def main(
    name: Annotated[str, typer.Argument(help="The target.")],
    seed: Annotated[int, typer.Option(help="Determines the mutations.")] = 20261129,
    seconds: Annotated[float, typer.Option(help="How long to fuzz.")] = 120.0,
    folder: Annotated[Path, typer.Option(help="Where to keep the inputs.")] = Path("reliability", "corpus"),
    repeat: Annotated[str, typer.Option(metavar="BASE64", help="Check only this input.")] = "",
) -> None:
    """Fuzz the target, or repeat an input and print its fault."""
    fuzz.watch_for_hangs()
    target = next(each for each in fuzz.TARGETS if each.name == name)
    if not repeat:
        explore(target, seed, seconds, folder)
    _, fault = check(target, base64.b64decode(repeat))
    print(fault or "no fault")
    raise typer.Exit(int(bool(fault)))


if __name__ == "__main__":
    typer.run(main)
