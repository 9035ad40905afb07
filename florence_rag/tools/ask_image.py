"""ask_image: METER's visual question answering as a tool that an agent can call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from florence_rag.pipeline import FlorenceRAG
from florence_rag.tools.base import Tool, ToolResult
from florence_rag.tools.given_image import check_image
from florence_rag.tools.wording import place_to_text
from florence_rag.types import Answer

PROMPT = """\
Ask one question about one picture and get a short answer from a model that looks at the pixels.
Use it whenever the answer depends on what an image, a page or a video clip shows: colours, counts, whether a thing is \
there, what is next to what, left or right. Do not answer such questions from captions or file names.
First find the picture with search_images and pass its id; to compare pictures, call once for each.
Ask short, plain questions about one visible thing: "What colour is the car next to the hydrant?"
The confidence lies between 0 and 1. Below 0.5 say that you are not sure and name the other candidates.\
"""
PROMPT_PATHS = "\nA picture outside the index can be named by its path in the folder that was opened for you."


@dataclass(frozen=True)
class AskImage(Tool):
    """Answers a question about one picture, with confidence, candidates and a citation.

    allow_paths: the one folder whose files may be named by path; None, the default, allows no paths.
    """

    rag: FlorenceRAG
    allow_paths: str | Path | None = None
    name: ClassVar[str] = "ask_image"

    @property
    def description(self) -> str:
        """The prompt; it mentions paths only where they are allowed."""
        return PROMPT if self.allow_paths is None else PROMPT + PROMPT_PATHS

    def run(
        self,
        image: Annotated[str | bytes, "The id of an image, page or clip from a search result, or a data:image URI."],
        question: Annotated[str, "One short question about what can be seen."],
    ) -> ToolResult:
        """The answer in words, and as `Answer.to_dict()` in the artifact. Raises InputError."""
        answer = self.rag.ask(question, image=check_image(image, self.allow_paths))
        return ToolResult(_answer_to_text(answer), answer.to_dict())


def _answer_to_text(answer: Answer) -> str:
    confidence = "" if answer.confidence is None else f" (confidence {answer.confidence:.2f})"
    lines = [f"{answer.text}{confidence}"]
    if others := [f"{text} {score:.2f}" for text, score in answer.candidates if text != answer.text]:
        lines.append(f"Other candidates: {', '.join(others)}")
    for citation in answer.citations:
        lines.append(f"Seen in: {place_to_text(citation)}" + (f", id {citation.id}" if citation.id else ""))
    return "\n".join(lines)
