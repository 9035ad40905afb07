"""Index very many small images, and measure the time and the memory during the run.

    python benchmarks/reliability/many_images.py --images 100000

Half of the images are indexed in one run, which is then killed; the next run completes them, and a third finds nothing
to do. Each run is a process of its own. Milvus Lite keeps a part of every row in memory. Therefore the run is repeated
with an index that discards its rows, where the memory must not grow. The embedder is a mean of colors.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer
from PIL import Image
from workload import MIB, PROCESSES, Result, open_rag

from florence_rag import FlorenceRAG
from florence_rag.ingest.progress import Progress
from florence_rag.testing import ColorEmbedder, MemoryIndex
from florence_rag.types import Chunk

SIDE = 64
PER_FOLDER = 1000
ROWS_OF_TABLE = 10
MOST_GROWTH_MIB = 40
MOST_BYTES_PER_ROW = 6_000  # which Milvus Lite keeps in memory


class DiscardingIndex(MemoryIndex):
    """An index that keeps its ledger and discards all chunks."""

    def add(self, chunks: Sequence[Chunk], vectors: np.ndarray, text_vectors: np.ndarray | None = None) -> None:
        """Discard the chunks."""


def save_images(folder: Path, count: int, seed: int) -> None:
    """Save JPEG images of smooth noise, all different, a thousand per folder."""
    random = np.random.default_rng(seed)
    for first in range(0, count, PER_FOLDER):
        (folder / f"{first // PER_FOLDER:04}").mkdir(parents=True)
        coarse = random.integers(0, 256, (PER_FOLDER, 4, 4, 3), dtype=np.uint8)
        for number, pixels in enumerate(coarse[: count - first], first):
            image = BytesIO()
            Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(image, "JPEG")
            (folder / f"{first // PER_FOLDER:04}" / f"{number:06}.jpg").write_bytes(image.getvalue())


def index(folder: Path, db: Path | None, count: int, results: Connection) -> None:
    """Index the folder in this process, and send the files, the seconds and the MiB of memory ten times."""
    process, started, sent = psutil.Process(), time.monotonic(), 0

    def send(step: Progress) -> None:
        nonlocal sent
        if step.files_done >= sent + count / ROWS_OF_TABLE:
            sent = step.files_done
            results.send((sent, time.monotonic() - started, process.memory_info().rss / MIB))

    with open_rag(db) if db else FlorenceRAG(DiscardingIndex(ColorEmbedder.info), ColorEmbedder()) as rag:
        report = rag.add(folder, progress=send)
    results.send((report.added, report.unchanged, len(report.failed)))


class Run:
    """One run in a process of its own, whose table is printed as it goes; it may be killed after some files."""

    def __init__(self, name: str, folder: Path, db: Path | None, count: int, kill_after: int | None = None) -> None:
        print(f"\n{name}\n{'files':>10}{'seconds':>10}{'s per 1,000':>13}{'MiB':>8}", flush=True)
        ours, theirs = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=index, args=(folder, db, count, theirs))
        started = time.monotonic()
        process.start()
        theirs.close()
        self.rows: list[tuple[int, float, float]] = [(0, 0.0, 0.0)]
        with suppress(EOFError), ours:
            while True:
                row = ours.recv()
                if not isinstance(row[1], float):
                    self.added, self.unchanged, self.failed = row
                    continue
                per_thousand = (row[1] - self.rows[-1][1]) / (row[0] - self.rows[-1][0]) * 1000
                self.rows.append(row)
                print(f"{row[0]:10,}{row[1]:10.1f}{per_thousand:13.2f}{row[2]:8.0f}", flush=True)
                if kill_after and row[0] >= kill_after:
                    process.kill()
        process.join()
        self.seconds = time.monotonic() - started
        if process.exitcode not in (0, -signal.SIGKILL if kill_after else 0):
            raise RuntimeError(f"the run ended with {process.exitcode}")

    def growth(self) -> float:
        """Return by how many MiB the memory grew in the second half."""
        half = self.rows[1:][len(self.rows) // 2 :]
        return half[-1][2] - half[0][2] if len(half) > 1 else 0.0


def main(
    images: Annotated[int, typer.Option(min=1000)] = 100_000,
    seed: int = 0,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")] = None,
) -> None:
    """Print the time and the memory of each tenth of each run."""
    with Result().reported(output) as result, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder, db = Path(scratch) / "images", Path(scratch) / "x.db"
        save_images(folder, images, seed)
        Run("until it is killed", folder, db, images, kill_after=images // 2)
        resumed = Run("resumed", folder, db, images)
        result.add("images indexed", [], tried=images)
        with open_rag(db) as rag:
            stored = sum(rag.info().chunks.values())
        if (resumed.added + resumed.unchanged, resumed.failed, stored) != (images, 0, images):
            result.add("images indexed", [f"{stored} are stored, {resumed.failed} failed"])
        result.notes["images indexed"] = f"{resumed.added} after the kill, {resumed.seconds:.0f} s"
        unchanged = Run("unchanged", folder, db, images)
        result.add("unchanged run", [] if unchanged.unchanged == images else [f"{unchanged.added} are indexed again"])
        result.notes["unchanged run"] = f"{unchanged.seconds:.1f} s"
        growth, allowed = resumed.growth(), MOST_GROWTH_MIB + resumed.added / 2 * MOST_BYTES_PER_ROW / MIB
        result.add("memory with its rows", [] if growth < allowed else [f"it grows by {growth:.0f} MiB"])
        peak = max(row[2] for row in resumed.rows)
        result.notes["memory with its rows"] = f"{growth:+.0f} MiB in the second half, peak {peak:.0f} MiB"
        flat = Run("rows are discarded", folder, None, images)
        result.add("memory of the run", [] if flat.growth() < MOST_GROWTH_MIB else ["the memory is not flat"])
        result.notes["memory of the run"] = f"{flat.growth():+.0f} MiB in the second half"


if __name__ == "__main__":
    typer.run(main)
