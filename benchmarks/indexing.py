"""Images per second of indexing beside the bare forward of the same model, in one run: make bench.

    python benchmarks/indexing.py --images 256 --large 128

The bare forward is given pixels that are already decoded and prepared, in the same batches. Indexing does everything
else too: finding, hashing and decoding the files, preparing pixels, storing vectors and ledger. Beside them stands
sentence-transformers' own `encode` on the same files. The networks: florence-tiny, and a ViT-B/32 with random weights,
which takes ten times as long. The aims, for the ViT: 0.95 of the bare forward on 640x480, 0.90 on 12 megapixels.

All ways take turns, a few batches each, as a machine that others use is not the same from one minute to the next.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from photographs import LARGE, SMALL, save_clip, save_photographs
from PIL import Image
from sentence_transformers import SentenceTransformer
from transformers import CLIPModel

from florence_rag import FlorenceRAG
from florence_rag.models.cards import TINY, find_model
from florence_rag.models.florence import FlorenceModel

BATCH = 32
TURN = 2 * BATCH
"""Pictures that each way takes before it is the next one's turn."""

Way = Callable[[Sequence[Path]], None]


def bare(model: Any, side_px: int) -> Way:
    """The forward alone, in batches, on all threads."""
    pixels = torch.randn(BATCH, 3, side_px, side_px)

    @torch.inference_mode()
    def forward(files: Sequence[Path]) -> None:
        for start in range(0, len(files), BATCH):
            model.get_image_features(pixels[: len(files) - start])

    return forward


def indexing(rag: FlorenceRAG) -> Way:
    """From file to stored vector, without reading words."""

    def add(files: Sequence[Path]) -> None:
        report = rag.add(*files, near_duplicates="keep")
        assert report.added + len(report.near_duplicates) == len(files), report

    return add


def encoding(model: SentenceTransformer) -> Way:
    """sentence-transformers by itself: from file to vector, nothing stored."""

    def encode(files: Sequence[Path]) -> None:
        model.encode([Image.open(path) for path in files], batch_size=BATCH)

    return encode


def rates(ways: dict[str, Way], files: list[Path]) -> dict[str, float]:
    """Images per second of each way; the first batch is for warming up."""
    seconds = dict.fromkeys(ways, 0.0)
    for start in range(0, len(files), TURN):
        turn = files[start : start + TURN]
        for name, way in ways.items():
            begun = time.perf_counter()
            way(turn)
            seconds[name] += (time.perf_counter() - begun) * (start > 0)
    counted = len(files) - TURN
    return {name: counted / spent for name, spent in seconds.items()}


def measure(network: str, ways: dict[str, Way], files: list[Path], size: tuple[int, int]) -> dict[str, Any]:
    """A row of the table."""
    found = rates(ways, files)
    row = {"network": network, "size": f"{size[0]}x{size[1]}", **{name: round(rate, 1) for name, rate in found.items()}}
    row["share"] = round(found["indexing"] / found["bare"], 2)
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return row


def main(
    images: Annotated[int, typer.Option(min=2 * TURN, help="Of 640x480.")] = 4 * TURN,
    large: Annotated[int, typer.Option(min=2 * TURN, help="Of 4000x3000.")] = 2 * TURN,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures here.")] = None,
) -> None:
    """Measure both networks on both sizes."""
    rows = []
    print(f"images per second, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        plain, clip = save_clip(scratch / "clip")
        tower = FlorenceModel.from_pretrained(find_model(TINY).florence, dtype=torch.float32).eval()
        vit = CLIPModel.from_pretrained(plain, dtype=torch.float32, local_files_only=True).eval()
        encoder = SentenceTransformer(str(clip), device="cpu", local_files_only=True)
        for size, count in ((SMALL, images), (LARGE, large)):
            files = [Path(path) for path in save_photographs(scratch / f"{size[0]}", count, size)]
            for network, model in (("florence-tiny", TINY), ("ViT-B/32", str(clip))):
                forward = bare(tower, tower.config.image_config.image_size) if model == TINY else bare(vit, 224)
                with FlorenceRAG.open(scratch / f"{network[:3]}{size[0]}.db", model, read="never") as rag:
                    ways = {"bare": forward, "indexing": indexing(rag)}
                    if model != TINY:
                        ways["encode"] = encoding(encoder)
                    rows.append(measure(network, ways, files, size))
    if output:
        output.write_text(json.dumps(rows))


if __name__ == "__main__":
    typer.run(main)
