"""Images per second of indexing, compared with the forward pass of the model alone: make bench.

    python benchmarks/indexing.py --turns 2

The forward pass alone receives decoded and preprocessed pixels in batches of 32 on all threads. Indexing also finds,
hashes and decodes the files, preprocesses pixels, and stores vectors and the ledger. For comparison, the script
measures `encode` of sentence-transformers on the same files, and a DataLoader in front of the network, as in the
inference of clip-retrieval; both store nothing. The networks are florence-tiny, and a ViT-B/32 and a ViT-B/16 with
random weights; the ViT-B/16 has the size of the default model. On CPUs decoding shares the processors with the network,
so the ratio depends on the cost of an image there: the script prints these milliseconds. The ratio can exceed 1, as
indexing runs small passes on one processor each, which is faster than large ones on all. The targets for the ViT-B/16:
0.95 of the forward pass on 640x480, 0.90 on 12 megapixels.

The methods take turns of some seconds, as the speed of a shared machine changes from minute to minute.
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
from photo_files import LARGE, SMALL, save_clip, save_photos
from PIL import Image
from sentence_transformers import SentenceTransformer
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPImageProcessorPil, CLIPModel

from florence_rag import FlorenceRAG
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.registry import TINY, find_model

BATCH = 32
WARM = 8
NETWORKS = {"florence-tiny": 16, "ViT-B/32": 4, "ViT-B/16": 2}
"""The batches per turn of each network; a turn is so long that the start and the end of a run do not matter."""

Method = Callable[[Sequence[Path]], int]
"""Processes image files, and returns their number."""


def bare(model: Any, side_px: int) -> Method:
    """Return a method that runs the forward pass alone, in batches on all threads."""
    pixels = torch.randn(BATCH, 3, side_px, side_px)

    @torch.inference_mode()
    def forward(files: Sequence[Path]) -> int:
        for start in range(0, len(files), BATCH):
            model.get_image_features(pixels[: len(files) - start])
        return len(files)

    return forward


def indexing(rag: FlorenceRAG) -> Method:
    """Return a method that indexes files, without OCR."""

    def add(files: Sequence[Path]) -> int:
        report = rag.add(*files, near_duplicates="keep")
        assert report.added == len(files), report
        return report.added

    return add


def encoding(model: SentenceTransformer) -> Method:
    """Return a method that encodes files by sentence-transformers; it is slow and does one batch per turn."""

    def encode(files: Sequence[Path]) -> int:
        images = [Image.open(path) for path in files[:BATCH]]
        model.encode(images, batch_size=BATCH)
        return len(images)

    return encode


class Prepared(Dataset[torch.Tensor]):
    """Files as the reader of clip-retrieval prepares them: Pillow opens them one by one in worker processes."""

    def __init__(self, files: Sequence[Path], processor: Any) -> None:
        self.files = files
        self.processor = processor

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> torch.Tensor:
        pixels: torch.Tensor = self.processor(Image.open(self.files[number]), return_tensors="pt")["pixel_values"][0]
        return pixels


def loading(model: CLIPModel, processor: Any) -> Method:
    """Return a method like the inference of clip-retrieval: a DataLoader with workers, and the network.

    The package itself needs torchvision, which has no CPU wheels on many machines.
    """

    @torch.inference_mode()
    def load(files: Sequence[Path]) -> int:
        some = files[: 2 * BATCH]
        for pixels in DataLoader(Prepared(some, processor), BATCH, num_workers=torch.get_num_threads()):
            model.get_image_features(pixels)
        return len(some)

    return load


def rates(methods: dict[str, Method], turns: Sequence[Sequence[Path]]) -> dict[str, float]:
    """Return images per second of each method; the first turn is a warm-up."""
    seconds, done = dict.fromkeys(methods, 0.0), dict.fromkeys(methods, 0)
    for number, turn in enumerate(turns):
        for name, method in methods.items():
            started = time.perf_counter()
            count = method(turn)
            if number:
                seconds[name] += time.perf_counter() - started
                done[name] += count
    return {name: done[name] / seconds[name] for name in methods}


def measure(network: str, methods: dict[str, Method], turns: Sequence[Sequence[Path]], size: str) -> dict[str, Any]:
    """Print and return a row of the table; spent_ms is the time per image without the forward pass."""
    found = rates(methods, turns)
    row = {"network": network, "size": size, **{name: round(rate, 1) for name, rate in found.items()}}
    row["ratio"] = round(found["indexing"] / found["bare"], 2)
    row["spent_ms"] = round(1000 * torch.get_num_threads() * (1 / found["indexing"] - 1 / found["bare"]), 1)
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return row


def cut(files: Sequence[Path], batches: int, turns: int) -> list[Sequence[Path]]:
    """Split the files into a warm-up and the turns."""
    step = batches * BATCH
    return [files[:WARM], *(files[WARM + n * step : WARM + (n + 1) * step] for n in range(turns))]


def main(
    turns: Annotated[int, typer.Option(min=1, help="Turns per method.")] = 1,
    network: Annotated[str | None, typer.Option(help=f"Only one of {', '.join(NETWORKS)}.")] = None,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the metrics here.")] = None,
) -> None:
    """Measure all networks on both sizes, and print a table."""
    rows = []
    chosen = {name: batches for name, batches in NETWORKS.items() if network in (None, name)}
    print(f"images per second, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for size in (SMALL, LARGE):
            wide = f"{size[0]}x{size[1]}"
            files = [
                Path(path) for path in save_photos(scratch / wide, WARM + BATCH * turns * max(chosen.values()), size)
            ]
            for network, batches in chosen.items():
                folder = scratch / f"{network[-2:]} {wide}"
                model, methods = opened(network, folder)
                with FlorenceRAG.open(scratch / f"{network[-2:]}{wide}.db", model, ocr="never") as rag:
                    rows.append(
                        measure(network, {**methods, "indexing": indexing(rag)}, cut(files, batches, turns), wide)
                    )
    if output:
        output.write_text(json.dumps(rows))


def opened(network: str, folder: Path) -> tuple[str, dict[str, Method]]:
    """Return the model of the index, and the other methods of a network."""
    if network == "florence-tiny":
        dual_encoder = FlorenceModel.from_pretrained(find_model(TINY).florence, dtype=torch.float32).eval()
        return TINY, {"bare": bare(dual_encoder, dual_encoder.config.image_config.image_size)}
    plain, clip = save_clip(folder, patch=int(network.rpartition("/")[2]))
    vit = CLIPModel.from_pretrained(plain, dtype=torch.float32, local_files_only=True).eval()
    encoder = SentenceTransformer(str(clip), device="cpu", local_files_only=True)
    loader = loading(vit, CLIPImageProcessorPil.from_pretrained(plain))
    return str(clip), {"bare": bare(vit, 224), "encode": encoding(encoder), "DataLoader": loader}


if __name__ == "__main__":
    typer.run(main)
