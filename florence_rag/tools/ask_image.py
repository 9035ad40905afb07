"""ask_image: answers a question about one image (visual question answering)."""

from dataclasses import replace
from typing import Annotated, Any

from florence_rag.answering.base import best_index
from florence_rag.text_arguments import check_question
from florence_rag.tools.base import ToolResult
from florence_rag.tools.formatting import box_to_text
from florence_rag.tools.image_argument import ImageArgument, ImageTool
from florence_rag.types import Answer
from florence_rag.untrusted_text import place_to_text, quoted, quoted_id

PROMPT = """\
Ask one question about one image and get a short answer from a model that examines the pixels.
Use it whenever the answer depends on what an image, a page or a video clip shows: colors, counts, whether an object \
is there, what is next to what, left or right. Do not answer such questions from captions or file names.
First find the image with search_images and pass its id; to compare images, call once for each.
Ask short, plain questions about one visible object: "What color is the car next to the hydrant?"
The confidence lies between 0 and 1. Below 0.5 say that you are not sure and name the other candidates.\
"""
SURE = 0.5


class AskImage(ImageTool):
    """Answers a question about one image, with confidence, candidates, a citation, and the region of highest attention.

    The region is present only if the VQA model provides attention, as METER does.
    """

    name = "ask_image"
    prompt = PROMPT
    roles = ("vqa",)

    def run(
        self, image: ImageArgument, question: Annotated[str, "One short question about what is visible."]
    ) -> ToolResult:
        """Return the answer as text, and `Answer.to_dict()` with the attention in the artifact. Raises InputError."""
        question = check_question(question)
        resolved, models = self._resolve(image), self.rag.models
        keyframe = best_index(resolved.frames, question, models.matcher)
        frame = resolved.frames[keyframe]
        result = self.rag.ask_image(frame, question)
        citation = replace(resolved.citation(result.confidence), cached_from=result.cached_from)
        attention_item: dict[str, Any] = {}
        if models.attention_vqa and not result.cached_from:
            attention = models.attention_vqa.get().attention_map(frame, question)
            citation = replace(citation, locator=replace(citation.locator, box=attention.box))
            # The weights stand row by row, over the part of the image that `view` names.
            grid = [[round(float(weight), 5) for weight in row] for row in attention.weights]
            attention_item["attention"] = {"box": list(attention.box), "grid": grid, "view": list(attention.view)}
        answer = Answer(result.answer, result.confidence, (citation,), result.candidates)
        images = (resolved.image_ref(keyframe),)
        return ToolResult(answer_to_text(answer), {**answer.to_dict(), **attention_item}, images=images)


def answer_to_text(answer: Answer) -> str:
    """Return answer and confidence, then other candidates, and the citations."""
    unsure = ", not sure" if answer.confidence is not None and answer.confidence < SURE else ""
    confidence = "" if answer.confidence is None else f" (confidence {answer.confidence:.2f}{unsure})"
    lines = [f"{quoted(answer.answer)}{confidence}"]
    if others := [f"{quoted(text)} {score:.2f}" for text, score in answer.candidates if text != answer.answer]:
        lines.append(f"Other candidates: {', '.join(others)}")
    for citation in answer.citations:
        lines.append(f"Seen in: {place_to_text(citation)}" + (f", id {quoted_id(citation.id)}" if citation.id else ""))
        if citation.cached_from:
            lines.append(f"From the answer cache: {quoted(citation.cached_from)}")
        if citation.locator.box:
            lines.append(f"Highest attention: {box_to_text(citation.locator.box)}")
    return "\n".join(lines)
