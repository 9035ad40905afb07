"""Images per second of indexing beside the bare forward of the same model, in one run: make bench.

    python benchmarks/indexing.py --turns 2

The bare forward is given pixels that are already decoded and prepared, in batches of 32 on all threads. Indexing does
everything else too: finding, hashing and decoding the files, preparing pixels, storing vectors and ledger. Beside them
stand sentence-transformers' own `encode` on the same files, and a DataLoader in front of the network, which is how
clip-retrieval's inference works; both store nothing. The networks: florence-tiny, and with random weights a ViT-B/32
and a ViT-B/16, which is the size of the default model. On CPUs what decodes has to share the processors with the
network, so the share depends on how much a picture costs there: those milliseconds are printed, too. It can be above
1, as indexing runs small passes on one processor each, which is faster than large ones on all. The aims, for the
ViT-B/16: 0.95 of the bare forward on 640x480, 0.90 on 12 megapixels.

All ways take turns of some seconds, as a machine that others use is not the same from one minute to the next.
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
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPImageProcessorPil, CLIPModel

from florence_rag import FlorenceRAG
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.registry import TINY, find_model

BATCH = 32
WARM = 8
NETWORKS = {"florence-tiny": 16, "ViT-B/32": 4, "ViT-B/16": 2}
"""Each with the batches of a turn, which is long enough for the beginning and the end of a run not to count."""

Way = Callable[[Sequence[Path]], int]
"""Takes pictures, and says how many of them it has done."""


def bare(model: Any, side_px: int) -> Way:
    """The forward alone, in batches, on all threads."""
    pixels = torch.randn(BATCH, 3, side_px, side_px)

    @torch.inference_mode()
    def forward(files: Sequence[Path]) -> int:
        for start in range(0, len(files), BATCH):
            model.get_image_features(pixels[: len(files) - start])
        return len(files)

    return forward


def indexing(rag: FlorenceRAG) -> Way:
    """From file to stored vector, without reading words."""

    def add(files: Sequence[Path]) -> int:
        report = rag.add(*files, near_duplicates="keep")
        assert report.added == len(files), report
        return report.added

    return add


def encoding(model: SentenceTransformer) -> Way:
    """sentence-transformers by itself: from file to vector, nothing stored; of a turn one batch, as it is slow."""

    def encode(files: Sequence[Path]) -> int:
        pictures = [Image.open(path) for path in files[:BATCH]]
        model.encode(pictures, batch_size=BATCH)
        return len(pictures)

    return encode


class Prepared(Dataset[torch.Tensor]):
    """Files as clip-retrieval's reader prepares them: opened by Pillow, one by one, in processes of its own."""

    def __init__(self, files: Sequence[Path], processor: Any) -> None:
        self.files = files
        self.processor = processor

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> torch.Tensor:
        pixels: torch.Tensor = self.processor(Image.open(self.files[number]), return_tensors="pt")["pixel_values"][0]
        return pixels


def loading(model: CLIPModel, processor: Any) -> Way:
    """What clip-retrieval's inference does: a DataLoader with workers, and the network. Nothing is stored.

    The package itself needs torchvision, for which there are no wheels without a GPU everywhere.
    """

    @torch.inference_mode()
    def load(files: Sequence[Path]) -> int:
        some = files[: 2 * BATCH]
        for pixels in DataLoader(Prepared(some, processor), BATCH, num_workers=torch.get_num_threads()):
            model.get_image_features(pixels)
        return len(some)

    return load


def rates(ways: dict[str, Way], turns: Sequence[Sequence[Path]]) -> dict[str, float]:
    """Images per second of each way. The first turn is for warming up."""
    seconds, done = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0)
    for number, turn in enumerate(turns):
        for name, way in ways.items():
            begun = time.perf_counter()
            count = way(turn)
            if number:
                seconds[name] += time.perf_counter() - begun
                done[name] += count
    return {name: done[name] / seconds[name] for name in ways}


def measure(network: str, ways: dict[str, Way], turns: Sequence[Sequence[Path]], size: str) -> dict[str, Any]:
    """A row of the table. spent_ms: of all processors, for a picture, beside the forward."""
    found = rates(ways, turns)
    row = {"network": network, "size": size, **{name: round(rate, 1) for name, rate in found.items()}}
    row["share"] = round(found["indexing"] / found["bare"], 2)
    row["spent_ms"] = round(1000 * torch.get_num_threads() * (1 / found["indexing"] - 1 / found["bare"]), 1)
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return row


def cut(files: Sequence[Path], batches: int, turns: int) -> list[Sequence[Path]]:
    """A few files to warm up, and then the turns."""
    step = batches * BATCH
    return [files[:WARM], *(files[WARM + n * step : WARM + (n + 1) * step] for n in range(turns))]


def main(
    turns: Annotated[int, typer.Option(min=1, help="Of each way.")] = 1,
    network: Annotated[str | None, typer.Option(help=f"Only one of {', '.join(NETWORKS)}.")] = None,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures here.")] = None,
) -> None:
    """Measure all networks on both sizes."""
    rows = []
    chosen = {name: batches for name, batches in NETWORKS.items() if network in (None, name)}
    print(f"images per second, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for size in (SMALL, LARGE):
            wide = f"{size[0]}x{size[1]}"
            files = [
                Path(path)
                for path in save_photographs(scratch / wide, WARM + BATCH * turns * max(chosen.values()), size)
            ]
            for network, batches in chosen.items():
                folder = scratch / f"{network[-2:]} {wide}"
                model, ways = opened(network, folder)
                with FlorenceRAG.open(scratch / f"{network[-2:]}{wide}.db", model, ocr="never") as rag:
                    rows.append(measure(network, {**ways, "indexing": indexing(rag)}, cut(files, batches, turns), wide))
    if output:
        output.write_text(json.dumps(rows))


def opened(network: str, folder: Path) -> tuple[str, dict[str, Way]]:
    """What an index is opened with, and the other ways of that network."""
    if network == "florence-tiny":
        tower = FlorenceModel.from_pretrained(find_model(TINY).florence, dtype=torch.float32).eval()
        return TINY, {"bare": bare(tower, tower.config.image_config.image_size)}
    plain, clip = save_clip(folder, patch=int(network.rpartition("/")[2]))
    vit = CLIPModel.from_pretrained(plain, dtype=torch.float32, local_files_only=True).eval()
    encoder = SentenceTransformer(str(clip), device="cpu", local_files_only=True)
    loader = loading(vit, CLIPImageProcessorPil.from_pretrained(plain))
    return str(clip), {"bare": bare(vit, 224), "encode": encoding(encoder), "DataLoader": loader}


if __name__ == "__main__":
    typer.run(main)
