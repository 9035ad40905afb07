"""tag_image: the tags that fit one picture, by labels and by what is tagged in the index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from florence_rag.tasks.tag import Tagged, open_tagger
from florence_rag.tools.base import ToolResult
from florence_rag.tools.formatting import clean, place_to_text
from florence_rag.tools.image_argument import ImageArgument, ImageTool
from florence_rag.tools.image_ref import image_of
from florence_rag.types import middle_index

PROMPT = """\
Suggest tags for one picture: those of the labels that fit it, by the labels themselves and by how the user tagged \
pictures that look like it. Several may fit, or none.
Use it to sort pictures in the user's own words. Leave out labels to use all tags the user has given so far; pass \
labels, two or more, where there are none. Pass the id of a search result.
Confidences lie between 0 and 1. Where no tag is sure enough the picture is called unsure: then say so, or look \
yourself with ask_image. Nothing is written. To choose exactly one of several labels use classify_image; pictures that \
have a tag are found by search_images with the filter {"tags": {"$has": "beach"}}.\
"""
THRESHOLD = 0.5


@dataclass(frozen=True)
class TagImage(ImageTool):
    """Suggests tags for a picture; it writes none."""

    name: ClassVar[str] = "tag_image"

    @property
    def description(self) -> str:
        """The prompt."""
        return self._described(PROMPT)

    def run(
        self,
        image: ImageArgument,
        labels: Annotated[list[str] | None, "The tags to choose from; leave out for the user's own."] = None,
    ) -> ToolResult:
        """The tags in words, and with candidates in the artifact. Raises InputError."""
        given = self._picture(image)
        tagger = open_tagger(self.rag.context, labels)
        ((tags, best),) = tagger.of(self.rag.models.embedder.embed_images([given.middle]), THRESHOLD)
        tagged = Tagged(given.hit.id, given.hit.source, tuple(tags), tuple(best))
        artifact = {**tagged.to_dict(), "citation": given.citation().to_dict()}
        picture = image_of(given.hit, given.middle, middle_index(given.frames))
        text = f"{_to_text(tagged)}\nSeen in: {place_to_text(given.hit)}"
        return ToolResult(text, artifact, images=(picture,))


def _to_text(tagged: Tagged) -> str:
    listed = ", ".join(f"{clean(name)} {share:.2f}" for name, share in tagged.tags or tagged.candidates)
    return f"Unsure; the likeliest tags are {listed}" if tagged.is_unsure else f"Tags: {listed}"
