"""Tiny models with random weights, and small images: a few steps take a second."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from florence_rag.models.processing import FlorenceImageProcessor, FlorenceProcessor
from florence_rag.testing import color_frame
from recipes.florence_tiny.tokenizer import train_tokenizer
from recipes.florence_tiny.train import TinyShape, build_model

SHAPE = TinyShape(
    image_size=32,
    embed_dim=16,
    depths=(1, 1, 1),
    num_heads=(1, 2, 4),
    window_size=4,
    text_width=32,
    text_layers=1,
    fusion_width=32,
    fusion_layers=1,
    vocab_size=300,
    projection_dim=16,
)
COLORS = ("red", "blue", "green", "yellow")


@pytest.fixture(scope="session")
def start(tmp_path_factory) -> Path:
    """A folder with florence/ and meter/, which `train` takes as `--base-model`."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("start")
    tokenizer = train_tokenizer(["a red car", "what colour is it?"], vocab_size=SHAPE.vocab_size, max_length=76)
    model = build_model(replace(SHAPE, vocab_size=len(tokenizer)), len(tokenizer))
    processor = FlorenceProcessor(FlorenceImageProcessor(size=32, fit="squash", enlarge=1.0), tokenizer)
    for name, network in zip(("florence", "meter"), model.models(), strict=True):
        network.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return folder


@pytest.fixture
def colors(tmp_path) -> Path:
    """A folder for each of four colors with six images."""
    for color in COLORS:
        (tmp_path / "data" / color).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(color_frame(color)).save(tmp_path / "data" / color / f"{number}.png")
    return tmp_path / "data"
