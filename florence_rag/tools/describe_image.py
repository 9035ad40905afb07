"""describe_image: captions one image, and returns its known text."""

from florence_rag.tools.base import ToolResult
from florence_rag.tools.formatting import MAX_CHARACTERS, hit_to_text
from florence_rag.tools.image_argument import ImageArgument, ImageTool
from florence_rag.untrusted_text import Fence

PROMPT = """\
Describe one image as a whole, by a captioning model that examines the pixels.
Use it when you must know what an image is about, when the user asks what it shows, or when results of a search have \
no text. For one detail, a color, a count or a position, use ask_image: it is more precise.
Pass the id of a search result. A video clip is described keyframe by keyframe, in temporal order.
A description can be wrong in details; do not add to it what it does not say.\
"""
MAX_DESCRIPTION = 4000


class DescribeImage(ImageTool):
    """Captions an image."""

    name = "describe_image"
    prompt = PROMPT
    roles = ("captioner",)

    def run(self, image: ImageArgument) -> ToolResult:
        """Return captions as text, and as a list in the artifact. Raises InputError."""
        resolved = self._resolve(image)
        captions = self.rag.models.require_captioner().get().caption(resolved.frames)
        captions = list(dict.fromkeys(filter(None, captions)))  # keyframes of one shot are often similar
        fence = Fence()
        lines = [resolved.place, fence.rule]
        lines.append(fence.wrap("\n".join(captions), MAX_DESCRIPTION) if captions else "No description.")
        if known := hit_to_text(resolved.hit).partition("\n")[2]:
            lines.append(f"Known text:\n{fence.wrap(known, MAX_CHARACTERS)}")
        return resolved.to_result("\n".join(lines), {"captions": captions})
