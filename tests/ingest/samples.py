"""Sources and chunks of plain colors, and an embedder that counts its batches."""

from florence_rag.testing import ColorEmbedder, color_frame
from florence_rag.types import Chunk, Source


def source(name):
    return Source(f"/{name}", "image", 1, 1, name)


def color_chunk(of, *colors, kind="image", **fields):
    return Chunk(of, kind, frames=tuple(color_frame(color) for color in colors), **fields)


class CountingEmbedder(ColorEmbedder):
    def __init__(self):
        self.batches = []

    def embed_images(self, frames):
        self.batches.append(len(frames))
        return super().embed_images(frames)
