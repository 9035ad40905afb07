"""Images per second of indexing beside the bare forward of the same model on the same images, in one run.

    python benchmarks/indexing.py --model florence-tiny --images 640

The bare forward is given pixels that are already decoded and prepared, in the same batches. Indexing does everything
else too: finding, hashing and decoding the files (640x480 JPEG), preparing pixels, storing vectors and ledger.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.models.cards import TINY, find_model
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.processing import FlorenceProcessor

BATCH = 32
SIZE = (640, 480)


def save_photographs(folder: Path, count: int) -> None:
    """Smooth noise: about as many bytes as photographs of this size."""
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        coarse.resize(SIZE, Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg", quality=90)


@torch.inference_mode()
def forward_rate(model_folder: Path, folder: Path) -> float:
    """Images per second of the image tower alone."""
    model = FlorenceModel.from_pretrained(model_folder, dtype=torch.float32).eval()
    processor = FlorenceProcessor.from_pretrained(model_folder)
    files = sorted(folder.iterdir())
    pictures = [Image.open(path) for path in files[:BATCH]]
    pixels = processor(images=pictures)["pixel_values"]
    model.get_image_features(pixels)
    batches = len(files) // BATCH
    started = time.perf_counter()
    for _ in range(batches):
        model.get_image_features(pixels)
    return batches * BATCH / (time.perf_counter() - started)


def indexing_rate(model: str, folder: Path, db: Path) -> float:
    """Images per second from file to stored vector, without reading words."""
    with FlorenceRAG.open(db, model, read="never") as rag:
        rag.embedder.embed_images([np.zeros((480, 640, 3), np.uint8)] * BATCH)
        started = time.perf_counter()
        report = rag.add(folder)
        return report.added / (time.perf_counter() - started)


def main(
    model: Annotated[str, typer.Option(help="A model's name or folder.")] = TINY,
    images: Annotated[int, typer.Option(min=BATCH)] = 640,
) -> None:
    """Measure forward, indexing, and forward again: the machine may have slowed down meanwhile."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "photos"
        folder.mkdir()
        save_photographs(folder, images)
        tower = find_model(model).florence
        before = forward_rate(tower, folder)
        indexing = indexing_rate(model, folder, Path(scratch) / "index.db")
        after = forward_rate(tower, folder)
    bare = (before + after) / 2
    print(f"{images} JPEGs of {SIZE[0]}x{SIZE[1]}, {torch.get_num_threads()} threads")
    print(f"bare forward {bare:8.1f} images/s  ({before:.1f} before, {after:.1f} after)")
    print(f"indexing     {indexing:8.1f} images/s")
    print(f"share        {indexing / bare:8.2f}")


if __name__ == "__main__":
    typer.run(main)
