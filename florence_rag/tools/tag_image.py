"""tag_image: suggests tags for one image, from labels and from tagged images of the index."""

from typing import Annotated

from florence_rag.tasks.tag import open_tagger
from florence_rag.tools.base import ToolResult
from florence_rag.tools.image_argument import ImageArgument, ImageTool
from florence_rag.untrusted_text import quoted

PROMPT = """\
Suggest tags for one image: those of the labels that fit it, judged by the labels and by how the user tagged similar \
images. Several may fit, or none.
Use it to sort images by the user's own tags. Omit labels to use all tags that the user has given so far; pass two or \
more labels if there are none. Pass the id of a search result.
Confidences lie between 0 and 1. If no tag is confident enough, the image is called unsure: then say so, or examine it \
with ask_image. Nothing is written. To choose exactly one of several labels use classify_image; images that have a tag \
are found by search_images with the filter {"tags": {"$contains": "beach"}}.\
"""
THRESHOLD = 0.5


class TagImage(ImageTool):
    """Suggests tags for an image, and writes none."""

    name = "tag_image"
    prompt = PROMPT

    def run(
        self,
        image: ImageArgument,
        labels: Annotated[list[str] | None, "The tags to choose from; omit for the user's own."] = None,
    ) -> ToolResult:
        """Return the tags as text, and with candidates in the artifact. Raises InputError."""
        resolved = self._resolve(image)
        tagger = open_tagger(self.rag.context, labels)
        vectors = self.rag.models.embedder.embed_images([resolved.middle])
        (tagged,) = tagger.predict([resolved.hit], vectors, THRESHOLD)
        listed = ", ".join(f"{quoted(name)} {confidence:.2f}" for name, confidence in tagged.tags or tagged.candidates)
        text = f"Unsure; the likeliest tags are {listed}" if tagged.is_unsure else f"Tags: {listed}"
        return resolved.to_result(f"{text}\nSeen in: {resolved.place}", tagged.to_dict())
