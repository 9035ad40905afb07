"""Data of several benchmarks: photo-like files, and a CLIP model of the usual size."""

from __future__ import annotations

import string
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

SMALL, LARGE = (640, 480), (4000, 3000)
DISTINCT = 32


def save_photos(folder: Path, count: int, size: tuple[int, int]) -> list[str]:
    """Save smooth noise, about as large as photos of this size; many files share their pixels, but no two are equal."""
    random = np.random.default_rng(size[0])
    folder.mkdir()
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    encoded: list[bytes] = []
    for number, path in enumerate(paths):
        if number < DISTINCT:
            coarse = random.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
            image = BytesIO()
            Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(image, "JPEG", quality=85)
            encoded.append(image.getvalue())
        # Decoders ignore bytes after the end of an image.
        path.write_bytes(encoded[number % DISTINCT] + number.to_bytes(4, "big"))
    return [str(path) for path in paths]


def save_clip(folder: Path, *, patch: int = 32) -> tuple[Path, Path]:
    """Save a CLIP with a ViT-B and random weights, for transformers and for sentence-transformers."""
    torch.manual_seed(0)
    pieces = ["<|startoftext|>", "<|endoftext|>", *string.printable, *(f"{letter}</w>" for letter in string.printable)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    text = {"vocab_size": len(vocabulary), "bos_token_id": 0, "eos_token_id": 1}
    CLIPModel(CLIPConfig(text_config=text, vision_config={"patch_size": patch})).save_pretrained(folder / "plain")
    CLIPProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size=224),
        tokenizer=CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77),
    ).save_pretrained(folder / "plain")
    model = SentenceTransformer(str(folder / "plain"), device="cpu", local_files_only=True)
    model.save_pretrained(str(folder / "ours"), create_model_card=False)
    return folder / "plain", folder / "ours"
