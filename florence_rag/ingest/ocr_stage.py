"""The words in pictures, read when an index is filled."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from florence_rag.context import LazyValue
from florence_rag.perception.base import OCRReader
from florence_rag.types import Chunk

OCRMode = Literal["auto", "always", "never"]
"""When to read the words in pictures. auto: in images, and in pages without a text layer."""


class OCRStage:
    """Adds to chunks the words in their pictures. The reader is used by all threads that decode."""

    def __init__(self, reader: LazyValue[OCRReader], when: OCRMode) -> None:
        self.reader = reader
        self.when = when

    def __call__(self, chunk: Chunk) -> Chunk:
        """The chunk with its `ocr`, or as it is where nothing is to be read."""
        if not chunk.frames or not self._is_due(chunk):
            return chunk
        regions = (region for frame in chunk.frames for region in self.reader.get().read(frame))
        return replace(chunk, ocr="\n".join(dict.fromkeys(region.text for region in regions)))

    def _is_due(self, chunk: Chunk) -> bool:
        by_itself = chunk.kind == "image" or (chunk.kind == "page" and not chunk.text.strip())
        return self.when == "always" or (self.when == "auto" and by_itself)
