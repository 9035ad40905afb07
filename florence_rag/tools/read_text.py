"""read_text: reads the text in one image, line by line, with boxes."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from florence_rag.chunking import FULL_SIZE
from florence_rag.errors import ModelError
from florence_rag.tools.base import ToolResult
from florence_rag.tools.formatting import MAX_CHARACTERS, box_to_text
from florence_rag.tools.image_argument import ImageArgument, ImageTool, ResolvedImage
from florence_rag.untrusted_text import quoted

MAX_LINES = 100
PROMPT = """\
Read the text in one image: signs, labels, posters, scanned pages, screens, subtitles.
Use it whenever the exact wording counts, such as a name, a number, a price or a date; never guess it from a caption.
Pass the id of a search result. Each line has its box, in fractions of the image's width and height, and a confidence \
from 0 to 1; below 0.7 single letters may be wrong. Of a video clip all keyframes are read, and a repeated line is \
returned once.\
"""


class ReadText(ImageTool):
    """Reads the text in an image."""

    name = "read_text"
    prompt = PROMPT
    roles = ("ocr_reader",)

    def run(self, image: ImageArgument) -> ToolResult:
        """Return the lines of text, and with boxes in the artifact. Raises InputError."""
        resolved = self._resolve(image, FULL_SIZE)
        lines = list(self._lines(resolved))
        listed = [f"{len(lines)} lines read in {resolved.place}:", *map(_line_to_text, lines[:MAX_LINES])]
        if not lines:
            listed = [f"No text was found in {resolved.place}."]
        elif len(lines) > MAX_LINES:
            listed.append(f"and {len(lines) - MAX_LINES} more lines")
        return resolved.to_result("\n".join(listed), {"lines": lines})

    def _lines(self, resolved: ResolvedImage) -> Iterator[dict[str, Any]]:
        reader = self.rag.models.ocr_reader
        if reader is None:
            raise ModelError("read_text needs an OCR reader: pass Models.of(embedder, ocr_reader=...) to FlorenceRAG")
        seen: set[str] = set()
        for number, frame in enumerate(resolved.frames):
            for region in reader.get().read(frame):
                if region.text.strip() and region.text not in seen:
                    seen.add(region.text)
                    keyframe = {"keyframe": number} if len(resolved.frames) > 1 else {}
                    yield {**asdict(region), "box": list(region.box), **keyframe}


def _line_to_text(line: dict[str, Any]) -> str:
    text = quoted(line["text"], MAX_CHARACTERS)
    return f"{text} {box_to_text(line['box'])}, confidence {line['confidence']:.2f}"
