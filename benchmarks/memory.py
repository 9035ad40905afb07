"""Peak memory of indexing many images compared with few: make bench.

    python benchmarks/memory.py --few 2000 --many 20000

Every run is a process, whose peak the operating system reports. The embedder is a mean of colors, so that no model
contributes to the memory. Every run is repeated with two indexes: one that discards all rows, which measures the
ingestion alone, and Milvus Lite, which runs in the process and keeps rows in memory. The target: at most 1.1 times the
memory of ingestion for ten times as many images.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.index.milvus import MilvusIndex
from florence_rag.testing import ColorEmbedder, MemoryIndex
from florence_rag.types import Chunk

SIZE = (320, 240)
STORES = ("discard", "milvus-lite")


class DiscardingIndex(MemoryIndex):
    """An index that discards all chunks."""

    def add(self, chunks: Sequence[Chunk], vectors: np.ndarray, text_vectors: np.ndarray | None = None) -> None:
        """Discard the chunks."""


def save_images(folder: Path, count: int) -> None:
    """Save JPEG images of smooth noise, all different."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse.resize(SIZE).save(folder / f"{number:06}.jpg")


def index(folder: Path, store: str, db: Path) -> None:
    """Index the folder, and print the peak memory of this process in MiB."""
    embedder = ColorEmbedder()
    opened = DiscardingIndex(embedder.info) if store == "discard" else MilvusIndex.open(str(db), embedder.info)
    with FlorenceRAG(opened, embedder) as rag:
        rag.add(folder, near_duplicates="keep")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def peak(folder: Path, store: str, db: Path) -> float:
    """Return the peak memory of an index run in its own process, in MiB."""
    command = [sys.executable, __file__, "--index", str(folder), "--store", store, "--db", str(db)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main(
    few: Annotated[int, typer.Option(min=100)] = 2_000,
    many: Annotated[int, typer.Option(min=100)] = 20_000,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the metrics here.")] = None,
    index_: Annotated[Path | None, typer.Option("--index", hidden=True)] = None,
    store: Annotated[str, typer.Option(hidden=True)] = "discard",
    db: Annotated[Path, typer.Option(hidden=True)] = Path("memory.db"),
) -> None:
    """Index few images, then many, and print a table."""
    if index_:
        return index(index_, store, db)
    metrics: dict[str, dict[int, float]] = {each: {} for each in STORES}
    with tempfile.TemporaryDirectory() as scratch:
        for count in (few, many):
            folder = Path(scratch) / str(count)
            save_images(folder, count)
            for each in STORES:
                metrics[each][count] = peak(folder, each, Path(scratch) / f"{each}-{count}.db")
    print(f"{'peak MiB':14}{few:>10,}{many:>10,}{'ratio':>10}")
    for each, row in metrics.items():
        print(f"{each:14}{row[few]:10.0f}{row[many]:10.0f}{row[many] / row[few]:10.2f}")
    if output:
        output.write_text(json.dumps(metrics))


if __name__ == "__main__":
    typer.run(main)
