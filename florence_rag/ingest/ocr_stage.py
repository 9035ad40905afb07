"""The OCR stage of an index run: adds the text that is visible in images to their chunks."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from florence_rag.context import LazyValue, Models
from florence_rag.perception.base import OCRReader
from florence_rag.types import Chunk

OCRMode = Literal["auto", "always", "never"]
"""Which chunks are read by OCR: all that have frames ("always"), none ("never"), or images and those pages that have no
text layer ("auto")."""


class OCRStage:
    """Adds OCR text to chunks. The reader must allow calls from several threads.

    Args:
        reader: Reads the text in a frame; it is loaded for the first chunk that needs it.
        mode: Which chunks to read.
    """

    def __init__(self, reader: LazyValue[OCRReader], mode: OCRMode) -> None:
        self.reader = reader
        self.mode = mode

    @classmethod
    def from_models(cls, models: Models, mode: OCRMode) -> OCRStage | None:
        """Return the stage, or None if there is no reader or the mode is "never"."""
        return None if models.ocr_reader is None or mode == "never" else cls(models.ocr_reader, mode)

    def __call__(self, chunk: Chunk) -> Chunk:
        """Return the chunk with its OCR text, each line once, or unchanged if the mode does not include it."""
        if not chunk.frames or not self._includes(chunk):
            return chunk
        reader = self.reader.get()
        lines = (line.text for frame in chunk.frames for line in reader.read(frame))
        return replace(chunk, ocr="\n".join(dict.fromkeys(lines)))

    def _includes(self, chunk: Chunk) -> bool:
        if self.mode == "always":
            return True
        return chunk.kind == "image" or (chunk.kind == "page" and not chunk.text.strip())
