from functools import cache
from types import SimpleNamespace
from zlib import crc32

import pytest

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.perception.base import Detection, TextRegion, VQAResult
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from florence_rag.text_arguments import clean
from florence_rag.types import Chunk, Locator, Source
from tests.security.attacks import ATTACKS

FRAME = color_frame("red", size_px=8)
BOX = (0.0, 0.0, 1.0, 1.0)


class Parrot:
    """A captioner, detector, OCR reader and VQA model that repeats what is written in an image."""

    def __init__(self, attack):
        self.attack = attack

    def caption(self, frames):
        return [self.attack] * len(frames)

    def detect(self, frames):
        return [[Detection(self.attack, BOX, 0.9)] for _ in frames]

    def locate(self, frame, phrase):
        return [Detection(phrase, BOX, 0.9)]

    def read(self, frame):
        return [TextRegion(self.attack, BOX, 0.9)]

    def answer(self, frame, question):
        return VQAResult(self.attack, 0.4, ((self.attack, 0.4), (f"{self.attack}!", 0.3)))


def chunks_of(attack):
    """Chunks that carry the attack wherever a chunk carries text."""
    metadata = {attack: attack, "title": attack, "tags": [attack, "b"], "source_url": f"https://example.org/{attack}"}
    kinds = {
        "image": ("image", Locator(box=BOX)),
        "page": ("pdf", Locator(page=2, part=attack)),
        "clip": ("video", Locator(start_s=1.0, end_s=2.0)),
        "text": ("text", Locator(span=(0, 9))),
    }
    for kind, (media, locator) in kinds.items():
        source = Source(f"/in {attack[:150]}/{kind} {attack[:150]}.bin", media, 1, 1, kind)
        texts = {"text": attack, "ocr": attack, "caption": attack}
        yield Chunk(source, kind, locator, **texts, metadata=metadata, custom_id=clean(f"{kind} {attack}"[:120]))


def rag_with(attack):
    embedder, parrot = ColorEmbedder(), Parrot(attack)
    index = MemoryIndex(embedder.info)
    for chunk in chunks_of(attack):
        index.begin(chunk.source)
        index.add([chunk], embedder.embed_images([FRAME]))
        index.complete(chunk.source)
    models = Models.of(embedder, vqa=parrot, captioner=parrot, detector=parrot, ocr_reader=parrot)
    rag = FlorenceRAG(index, models)
    rag.context.images.frames = lambda hit, chunking=None: () if hit.kind == "text" else (FRAME,)
    return rag


@cache
def target_of(attack):
    """An attack with an index that is full of it."""
    return SimpleNamespace(attack=attack, rag=rag_with(attack))


@pytest.fixture(params=["some", pytest.param("all", marks=pytest.mark.slow)])
def targets(request):
    """All attacks, or without the slow tests every fourth, by turns, so that each is tried in many tests."""
    turn = crc32(request.node.nodeid.encode()) % 4
    return list(map(target_of, ATTACKS[turn::4] if request.param == "some" else ATTACKS))
