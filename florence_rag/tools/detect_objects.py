"""detect_objects: the things in one picture, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, ClassVar

from florence_rag.errors import InputError, ModelError
from florence_rag.perception.base import Detection, Detector, Grounder, Segmenter
from florence_rag.rag import FlorenceRAG
from florence_rag.tools.base import ToolResult
from florence_rag.tools.formatting import box_to_text, clean, place_to_text
from florence_rag.tools.image_argument import ImageArgument, ImageTool
from florence_rag.tools.image_ref import image_of
from florence_rag.tools.vqa_grounding import pointing_of
from florence_rag.types import Frame, middle_index

PROMPT = """\
Find the things in one picture and where each is, as a box in shares of the picture's width and height.
Use it to list what is there, to count things that can be told apart, or, with thing, to find where one thing is: "the \
blue car", "a person with a hat". For other questions about a picture use ask_image.
Pass the id of a search result. Of a video clip the middle keyframe is looked at.
With thing the model marks what fits best, even where nothing does: ask with ask_image first whether it is there.\
"""
PROMPT_OUTLINE = "\nWith thing and outline the artifact has the outlines of the thing, as points, besides its box."

PROMPT_NAMED = """\
Find where one thing is in one picture, as a box in shares of the picture's width and height, and whether it is there.
Name it with thing, in a few words: "the blue car", "a person with a hat". Things that are not named cannot be listed; \
to count things, and for other questions about a picture, use ask_image.
Pass the id of a search result. Of a video clip the middle keyframe is looked at.\
"""


@dataclass(frozen=True)
class DetectObjects(ImageTool):
    """Finds things in a picture, all or one that is named.

    METER, which cannot list them, finds one that is named; a detector that knows only its own labels then says where it
    ends.
    """

    name: ClassVar[str] = "detect_objects"

    @classmethod
    def serves(cls, rag: FlorenceRAG) -> bool:
        """Whether a model is open that can."""
        models = rag.models
        return bool(models.detector or models.grounder or models.attention_vqa)

    @property
    def description(self) -> str:
        """The prompt."""
        prompt = PROMPT if self.rag.models.detector else PROMPT_NAMED
        return self._described(prompt + PROMPT_OUTLINE * (self.rag.models.segmenter is not None))

    def run(
        self,
        image: ImageArgument,
        thing: Annotated[str | None, "Only this thing, in a few words."] = None,
        outline: Annotated[bool, "Whether to draw round the thing, where a model can."] = False,
    ) -> ToolResult:
        """One thing a line, and as regions in the artifact. Raises InputError."""
        given, named = self._picture(image), (thing or "").strip()
        regions = self._outlined(given.middle, named) if outline else self._found(given.middle, named)
        artifact = {"objects": [region_to_dict(region) for region in regions], "citation": given.citation().to_dict()}
        picture = image_of(given.hit, given.middle, middle_index(given.frames))
        lines = [region_to_text(region) for region in regions] or [f"No {named} was found." if named else "Nothing."]
        text = "\n".join([f"{len(regions)} found in {place_to_text(given.hit)}:", *lines])
        return ToolResult(text, artifact, images=(picture,))

    def _outlined(self, frame: Frame, named: str) -> list[Detection]:
        segmenter = self._segmenter()
        if segmenter is None:
            raise InputError("no model that is open draws outlines; leave outline out")
        if not named:
            raise InputError("thing is empty; name the one thing that is to be outlined")
        region = segmenter.segment(frame, named)
        return [region] if region else []

    def _segmenter(self) -> Segmenter | None:
        segmenter = self.rag.models.segmenter
        return segmenter.get() if segmenter else None

    def _found(self, frame: Frame, named: str) -> list[Detection]:
        detector, grounder = detector_of(self.rag), grounder_of(self.rag)
        if detector is None and grounder is None:
            raise ModelError("detecting needs a model that can: open the index with detector='florence-2-base'")
        if not named:
            if detector is None:
                raise InputError("thing is empty; name the one thing to look for, for others cannot be listed")
            return detector.detect([frame])[0]
        located = grounder.locate(frame, named) if grounder else None
        if detector is None or isinstance(detector, Grounder):
            return located or []
        known = [region for region in detector.detect([frame])[0] if region.label.casefold() in named.casefold()]
        return known if located is None else [_sharpened(region, known) for region in located]


def detector_of(rag: FlorenceRAG) -> Detector | None:
    """The model of the index that finds things, if it has one."""
    return rag.models.detector.get() if rag.models.detector else None


def grounder_of(rag: FlorenceRAG) -> Grounder | None:
    """The model of the index that finds what is named, if it has one."""
    return rag.models.grounder.get() if rag.models.grounder else pointing_of(rag)


def _sharpened(pointed: Detection, known: Sequence[Detection]) -> Detection:
    """With the box of the thing that was pointed at, if it was found."""
    x, y = (pointed.box[0] + pointed.box[2]) / 2, (pointed.box[1] + pointed.box[3]) / 2
    hit = [region for region in known if region.box[0] <= x <= region.box[2] and region.box[1] <= y <= region.box[3]]
    return replace(pointed, box=hit[0].box) if hit else pointed


def region_to_dict(region: Detection) -> dict[str, Any]:
    """JSON-ready."""
    outlines = [[list(point) for point in outline] for outline in region.polygons]
    return {**asdict(region), "box": list(region.box), "polygons": outlines}


def region_to_text(region: Detection) -> str:
    """Label, place, how sure that is, and whether it is outlined."""
    confidence = "" if region.confidence is None else f", confidence {region.confidence:.2f}"
    outlined = ", outlined in the artifact" if region.polygons else ""
    return f"{clean(region.label)}: {box_to_text(region.box)}{confidence}{outlined}"
