"""The OCR text of photographs ranks them first in a real database, even if their vectors are noise."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from florence_rag.context import Models
from florence_rag.embedding.base import EmbedderCapabilities
from florence_rag.index.milvus import MilvusIndex
from florence_rag.perception.ocr import RapidOcrReader
from florence_rag.rag import FlorenceRAG
from florence_rag.types import EmbedderInfo

PHOTOS = Path(__file__).parents[2].parent / "shared" / "media" / "photos"
WITH_WORDS = ("885", "724", "069", "042", "solar-farm", "sewing-threads")


class NoiseEmbedder:
    info = EmbedderInfo("noise", "0", 32, "none")
    capabilities = EmbedderCapabilities()

    def __init__(self):
        self.random = np.random.default_rng(0)

    def embed_images(self, frames):
        vectors = self.random.normal(size=(len(frames), 32)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    embed_texts = embed_images


def first_of(folder, db, *queries):
    """Return the names of the images that rank first for each query, in ten searches with different noise."""
    with FlorenceRAG(
        MilvusIndex.open(str(db), NoiseEmbedder.info), Models.of(NoiseEmbedder(), ocr_reader=RapidOcrReader())
    ) as rag:
        rag.add(folder)
        return [{Path(rag.search(query, k=1)[0].source).stem for _ in range(10)} for query in queries]


def draw_sign(folder, name, text):
    image = Image.new("RGB", (400, 160), "white")
    ImageDraw.Draw(image).text((30, 50), text, "black", ImageFont.load_default(48))
    image.save(folder / f"{name}.png")


@pytest.fixture
def signs(tmp_path):
    folder = tmp_path / "signs"
    folder.mkdir()
    for name, text in {"right": "Row 03-17", "near": "Row 03-11", "bank": "J.P.Morgan", "shop": "Morgan"}.items():
        draw_sign(folder, name, text)
    for number in range(6):
        Image.new("RGB", (200, 100), (40 * number, 90, 90)).save(folder / f"plain{number}.png")
    return folder


def test_signs_are_found_by_their_text(signs, tmp_path):
    found = first_of(signs, tmp_path / "test.db", "03-17", "J.P. Morgan", "jpmorgan", "row 03/11")
    assert found == [{"right"}, {"bank"}, {"bank"}, {"near"}]


@pytest.mark.skipif(not PHOTOS.exists(), reason="the shared photographs are not here; drawn signs cover the same")
def test_photographs_are_found_by_their_text(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for photo in PHOTOS.iterdir():
        if photo.stem.endswith(WITH_WORDS):
            shutil.copy(photo, folder)
    found = first_of(folder, tmp_path / "test.db", "J.P. Morgan", "j p morgan", "03-17")
    assert found == [{"000000000885"}, {"000000000885"}, {"solar-farm"}]
