"""What several benchmarks measure with: drawn photographs, and a CLIP of the usual size."""

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
DRAWN = 32


def save_photographs(folder: Path, count: int, size: tuple[int, int]) -> list[str]:
    """Smooth noise: about as many bytes as photographs of this size. Many files share their pixels, none its bytes."""
    random = np.random.default_rng(size[0])
    folder.mkdir()
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    drawn: list[bytes] = []
    for number, path in enumerate(paths):
        if number < DRAWN:
            coarse = random.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
            picture = BytesIO()
            Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(picture, "JPEG", quality=85)
            drawn.append(picture.getvalue())
        # What stands after the end of a picture is not looked at.
        path.write_bytes(drawn[number % DRAWN] + number.to_bytes(4, "big"))
    return [str(path) for path in paths]


def save_clip(folder: Path, *, patch: int = 32) -> tuple[Path, Path]:
    """A CLIP with a ViT-B and random weights: as transformers has it, and as sentence-transformers has it."""
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
