"""find_similar: finds chunks that are visually similar to an image."""

from florence_rag.index.base import Filter
from florence_rag.tools.arguments import CountArgument, KindsArgument, check_k, check_kinds
from florence_rag.tools.base import ToolResult
from florence_rag.tools.formatting import counted
from florence_rag.tools.image_argument import ImageArgument, ImageTool

PROMPT = """\
Find images, pages and video clips that are visually similar to one image.
Use it for "more like this", for near copies of a photograph, and to find where else an object or a place appears. \
To find images by a description use search_images.
Pass the id of a search result. The results exclude the file that the image comes from.
Results are ordered, most similar first; the last ones may have little in common with the image: check with \
ask_image before you call two images the same.\
"""


class FindSimilar(ImageTool):
    """Finds chunks of other files that are visually similar to an image."""

    name = "find_similar"
    prompt = PROMPT

    def run(self, image: ImageArgument, k: CountArgument = 5, kinds: KindsArgument = None) -> ToolResult:
        """Return a numbered list, and the hits as dictionaries in the artifact. Raises InputError."""
        k, wanted = check_k(k), check_kinds(kinds) or {"image", "page", "clip"}
        resolved = self._resolve(image)
        other = {"$ne": resolved.hit.uri}
        elsewhere: Filter | None = {"chunk.source": other, "source": other} if resolved.hit.id else None
        hits = self.rag.search(image=resolved.middle, k=k, kinds=wanted, filter=elsewhere)
        if not hits:
            return ToolResult.of_hits(f"The index has no image other than {resolved.place}.", hits)
        return ToolResult.of_hits(f"{counted(hits, 'result')} similar to {resolved.place}, most similar first:", hits)
