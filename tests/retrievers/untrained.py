"""Writes a model folder as training does, but with untrained weights."""

from pathlib import Path

import torch

from florence_rag.models.processing import FlorenceImageProcessor, FlorenceProcessor
from recipes.florence_tiny.train import TinyShape, build_model, build_tokenizer, save

SHAPE = TinyShape(embed_dim=8, depths=(1, 1, 1), num_heads=(1, 2, 4), text_width=16, text_layers=1, fusion_width=16)


def save_untrained(folder: Path) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(SHAPE, scenes=100)
    processor = FlorenceProcessor(FlorenceImageProcessor(size=SHAPE.image_size, fit="squash", enlarge=1.0), tokenizer)
    save(build_model(SHAPE, len(tokenizer)), processor, folder)
