"""Speed of the image encoder in lower precision and on other backends, and its cosine to fp32: make bench.

The networks are UniCL's Swin-T and a ViT-B/32 with random weights, as released models are not on every machine, and
florence-tiny with its own weights. Each row is measured right after plain fp32 and compared with it; on a GPU it is
also compared with the network alone in bfloat16 under torch.compile. The targets: on a CPU 1.5 times plain fp32 at a
mean cosine of 0.99, on a GPU 0.9 of the network alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel

from florence_rag.models.coswin import CoSwinConfig, CoSwinModel
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.inference_backends import SUPPORTED, accelerate
from florence_rag.models.registry import TINY, find_model

Run = Callable[[Tensor], Tensor]


class Pooled(nn.Module):
    """An encoder whose output is its pooled features."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (B, C) for pixels (B, 3, H, W)."""
        pooled: Tensor = self.encoder(pixels).pooler_output
        return pooled


def networks() -> dict[str, tuple[nn.Module, str, int]]:
    """Map a name to a network, its method, and the size of its images."""
    torch.manual_seed(0)
    vit = CLIPVisionConfig(
        patch_size=32, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    )
    tiny = FlorenceModel.from_pretrained(find_model(TINY).florence, dtype=torch.float32).eval()
    return {
        "Swin-T, 224 px": (Pooled(CoSwinModel(CoSwinConfig(convolutional=False))).eval(), "embed", 224),
        "ViT-B/32, 224 px": (Pooled(CLIPVisionModel(vit)).eval(), "embed", 224),
        "florence-tiny, 112 px": (tiny, "get_image_features", tiny.config.image_config.image_size),
    }


def rate(run: Run, pixels: Tensor, seconds: float) -> float:
    """Return images per second, the best of several passes."""
    run(pixels)
    best, started = 0.0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        begun = time.perf_counter()
        run(pixels)
        if pixels.is_cuda:
            torch.cuda.synchronize()
        best = max(best, len(pixels) / (time.perf_counter() - begun))
    return best


def combinations(device: str, compiled: bool) -> Iterator[tuple[str, str]]:
    """Yield the backends and precisions of a device; torch.compile on a CPU takes minutes and is optional."""
    for backend, precisions in SUPPORTED.items():
        if backend == "torch" or (backend == "compile" and (compiled or device != "cpu")):
            yield from ((backend, each) for each in precisions if device == "cpu" or each != "int8")
        elif backend != "compile" and device == "cpu":
            yield from ((backend, each) for each in precisions)


def bare(network: nn.Module, method: str) -> Run:
    """Return the compiled network in bfloat16 without any pre- or postprocessing."""
    half = deepcopy(network).bfloat16()
    forward: Run = torch.compile(getattr(half, method))
    return lambda pixels: forward(pixels.bfloat16())


@torch.inference_mode()
def measure(
    network: nn.Module, method: str, pixels: Tensor, seconds: float, *, compiled: bool
) -> Iterator[dict[str, Any]]:
    """Yield a row for every combination."""
    plain: Run = getattr(network, method)
    expected = plain(pixels)
    limit = rate(bare(network, method), pixels, seconds) if pixels.is_cuda else None
    for backend, precision in combinations(pixels.device.type, compiled):
        # Tracing does not work with the tensors of inference mode.
        with torch.inference_mode(False):
            run = accelerate(network, method, pixels.clone(), backend=backend, precision=precision)  # type: ignore[arg-type]
        base, fast = rate(plain, pixels, seconds), rate(run, pixels, seconds)
        cosine = F.cosine_similarity(run(pixels), expected).mean().item()
        of_bare = f"   {fast / limit:5.2f} x network alone" if limit else ""
        speed = f"{fast:8.1f} images/s   {fast / base:5.2f} x fp32{of_bare}"
        print(f"  {backend:9} {precision:5} {speed}   cosine {cosine:.5f}", flush=True)
        row = {
            "backend": backend,
            "precision": precision,
            "images_per_s": fast,
            "x_fp32": fast / base,
            "cosine": cosine,
        }
        yield row | ({"x_bare": fast / limit} if limit else {})


def main(
    batch: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 16,
    seconds: Annotated[float, typer.Option(help="For each measurement.")] = 5.0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cuda" if torch.cuda.is_available() else "cpu",
    compiled: Annotated[bool, typer.Option("--compile", help="torch.compile on a CPU, too.")] = False,
    record: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the metrics here.")] = None,
) -> None:
    """Measure all networks in all combinations, and print them."""
    print(f"batches of {batch} on {device}, {torch.get_num_threads()} threads; fp32 is plain PyTorch")
    metrics = {}
    for name, (network, method, side) in networks().items():
        print(name)
        pixels = torch.randn(batch, 3, side, side, device=device)
        metrics[name] = list(measure(network.to(device), method, pixels, seconds, compiled=compiled))
    if record:
        record.write_text(
            json.dumps({"batch": batch, "threads": torch.get_num_threads(), "networks": metrics}, indent=1)
        )


if __name__ == "__main__":
    typer.run(main)
