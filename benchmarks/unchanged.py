"""Files per second of an index run without changes, compared with a walk over the same files.

    python benchmarks/unchanged.py --files 20000

A second run compares the size and time of each file with the ledger in Milvus Lite; it opens no file. The files are
small texts with cheap vectors, so that filling the database takes seconds. Two more runs are measured: one after all
files were touched, which reads each file once to hash it, and the next one, which again opens no file.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from florence_rag.index.milvus import MilvusIndex
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder

TARGET_PER_S = 5_000


def write_files(folder: Path, count: int) -> None:
    """Write small files, a hundred per folder."""
    for number in range(count):
        path = folder / f"{number // 100:04}" / f"{number:07}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"The red number {number}.")


def seconds_of_add(rag: FlorenceRAG, folder: Path) -> float:
    """Return the duration of one run."""
    started = time.perf_counter()
    rag.add(folder)
    return time.perf_counter() - started


def seconds_of_walk(folder: Path) -> float:
    """Return the duration of a walk that only reads the size and time of each file."""
    started = time.perf_counter()
    for name, _, files in os.walk(folder):
        for file in files:
            os.stat(os.path.join(name, file))
    return time.perf_counter() - started


def main(
    files: Annotated[int, typer.Option(min=1)] = 20_000,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the metrics here.")] = None,
) -> None:
    """Print files per second."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "files")
        folder.mkdir()
        write_files(folder, files)
        with FlorenceRAG(MilvusIndex.open(str(Path(name, "x.db")), ColorEmbedder.info), ColorEmbedder()) as rag:
            first = seconds_of_add(rag, folder)
            unchanged = seconds_of_add(rag, folder)
            for path in folder.rglob("*.txt"):
                os.utime(path, (1, 1))
            touched, after = seconds_of_add(rag, folder), seconds_of_add(rag, folder)
        walk = seconds_of_walk(folder)
    seconds = {"first run": first, "unchanged": unchanged, "touched": touched, "after that": after, "walk only": walk}
    print(f"{'run':<12}{'files/s':>10}{'of a walk':>12}")
    for run, spent in seconds.items():
        print(f"{run:<12}{files / spent:>10,.0f}{walk / spent:>12.1%}")
    print(f"target for an unchanged folder: {TARGET_PER_S:,} files/s")
    if output:
        output.write_text(json.dumps({"files": files, "files_per_s": {run: files / s for run, s in seconds.items()}}))


if __name__ == "__main__":
    typer.run(main)
