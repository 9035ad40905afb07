"""The prompts of a chat with a language model: one that rewrites a follow-up, and one that answers.

Images of this turn only are sent. Those of earlier turns are references such as [2.1], result 1 of turn 2, which the
model names in the rewritten message to see them again.
"""

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from PIL import Image

from florence_rag.answering.base import frames_or_skip
from florence_rag.answering.budget import MIN_PIXELS, Budget
from florence_rag.answering.llm import INSTRUCTION
from florence_rag.chat.turn import Turn
from florence_rag.errors import ModelError
from florence_rag.image_store import LoadFrames
from florence_rag.jpeg import to_jpeg
from florence_rag.types import Frame, Hit, middle_frame
from florence_rag.untrusted_text import Fence, neutralize, one_line, place_to_text, quoted

REWRITE = """\
You read a conversation about the user's own files, and rewrite the user's last message as one question, or one text to
search for, that is clear without the conversation. Reply with this text only, on one line, in the user's language.
If it is about earlier results, write their numbers before it: [2.1] or [2.1] [2.3].
If it can be answered from the conversation alone, reply with: NONE"""

_MAX_TURNS = 8
_MAX_REFERENCES = 5
_MAX_QUERY = 1000
_MAX_REPLY = 2000
_MAX_CHARACTERS = 2000
_MAX_DESCRIPTION = 600
_REFERENCE = re.compile(r"\[(\d{1,6})\.(\d{1,6})\]")
_CITATION = re.compile(r"\[(\d{1,6}(?:, ?\d{1,6})*)\]")

Message = dict[str, Any]


def rewrite_messages(text: str, history: Sequence[Turn]) -> list[Message]:
    """Return the messages that ask a model to rewrite a message as a text that needs no conversation."""
    fence = Fence()
    lines = [line for number, turn in _numbered(history) for line in _turn_to_lines(number, turn)]
    conversation = fence.wrap("\n".join(lines))
    prompt = f"The conversation:\n{conversation}\nThe last message: {neutralize(text)}"
    return [{"role": "system", "content": f"{REWRITE}\n{fence.rule}"}, {"role": "user", "content": prompt}]


def read_rewritten(reply: str, history: Sequence[Turn]) -> tuple[str, list[Hit]]:
    """Return the text that a model wrote, "" if nothing is to be searched, and the earlier hits that it names."""
    hits = {
        (number, place): hit
        for number, turn in _numbered(history)
        for place, hit in enumerate(turn.hits[:_MAX_REFERENCES], start=1)
    }
    named = [hits.get((int(turn), int(place))) for turn, place in _REFERENCE.findall(reply)]
    text = _REFERENCE.sub(" ", reply).strip()
    query = " ".join(text.split()).strip("\"' ")
    if not query or len(query) > _MAX_QUERY or "\n" in text:
        raise ModelError(f"the chat model did not reply with one text to search for, but with {one_line(reply)!r:.80}")
    opened = list({hit.id: hit for hit in named if hit}.values())
    return ("" if query.rstrip(".").upper() == "NONE" else query), opened


Describe = Callable[[Hit], str]
"""Says in words what the image of a hit shows, for a model that receives no images."""


class Evidence:
    """The hits of a turn as content blocks, with images within a budget, or described if it allows none.

    Attributes:
        blocks: Their texts and images, numbered from 1, after the image of the user.
        images: The ids of the hits whose images are among them.
    """

    def __init__(
        self,
        hits: Sequence[Hit],
        given: Frame | None,
        load_frames: LoadFrames,
        budget: Budget,
        describe: Describe,
        fence: Fence,
    ) -> None:
        most = min(budget.max_images, budget.pixels // MIN_PIXELS)
        shown = {} if given is None or not most else {"": given}
        for hit in hits:
            if hit.kind != "text" and len(shown) < most and (frames := frames_or_skip(load_frames, hit)):
                shown[hit.id] = middle_frame(frames)
        self.images = tuple(id for id in shown if id)
        pixels_each = budget.pixels // max(1, len(shown))
        self.blocks = (
            [] if given is None else [_text("The user's image:" if "" in shown else "The user's image is not shown.")]
        )
        if "" in shown:
            self.blocks.append(_image(shown[""], pixels_each))
        for number, hit in enumerate(hits, start=1):
            seen = describe(hit) if not budget.max_images and hit.kind != "text" else ""
            self.blocks += _hit_to_blocks(number, hit, fence, shown.get(hit.id), pixels_each, seen)


def answer_messages(text: str, history: Sequence[Turn], evidence: Evidence, fence: Fence) -> list[Message]:
    """Return the messages that ask a model to answer: earlier turns as text, then the results and the message."""
    messages: list[Message] = [{"role": "system", "content": f"{INSTRUCTION}\n{fence.rule}"}]
    for number, turn in _numbered(history):
        messages.append({"role": "user", "content": neutralize(turn.question) or "(an image)"})
        messages.append({"role": "assistant", "content": _answer_of(number, turn)})
    return [*messages, {"role": "user", "content": [*evidence.blocks, _text(f"Question: {neutralize(text)}")]}]


def _numbered(history: Sequence[Turn]) -> Iterator[tuple[int, Turn]]:
    """Yield the last turns with their numbers from 1, without those that failed."""
    answered = [(number, turn) for number, turn in enumerate(history, start=1) if not turn.error]
    yield from answered[-_MAX_TURNS:]


def _turn_to_lines(number: int, turn: Turn) -> Iterator[str]:
    yield f"{number}. user: {one_line(turn.question, _MAX_QUERY)}"
    yield f"   answer: {one_line(_answer_of(number, turn), _MAX_REPLY)}"
    for place, hit in enumerate(turn.hits[:_MAX_REFERENCES], start=1):
        caption = f", {quoted(hit.caption)}" if hit.caption else ""
        yield f"   [{number}.{place}] {place_to_text(hit)}{caption}"


def _answer_of(number: int, turn: Turn) -> str:
    """Return the answer of a turn, in which [2] is [number.2], so that numbers of turns do not meet."""

    def renumber(found: re.Match[str]) -> str:
        return " ".join(f"[{number}.{place.strip()}]" for place in found[1].split(","))

    return _CITATION.sub(renumber, neutralize(turn.answer.answer[:_MAX_REPLY])) or "(no answer)"


def _hit_to_blocks(
    number: int, hit: Hit, fence: Fence, frame: Frame | None, pixels: int, seen: str
) -> Iterator[Message]:
    """Yield the text of a hit, and its image if it is shown."""
    text = fence.wrap(hit.content, _MAX_CHARACTERS) if hit.content else "It contains no text."
    unseen = "" if frame is not None or hit.kind == "text" else "\nIts image is not shown."
    if seen:
        unseen += f" Another model says of it: {quoted(seen, _MAX_DESCRIPTION)}"
    yield _text(f"[{number}] {place_to_text(hit)}\n{text}{unseen}")
    if frame is not None:
        yield _image(frame, pixels)


def _text(text: str) -> Message:
    return {"type": "text", "text": text}


def _image(frame: Frame, pixels: int) -> Message:
    """Return an image as a content block of at most so many pixels."""
    image = Image.fromarray(frame)
    scale = min(1.0, (pixels / (image.width * image.height)) ** 0.5)
    size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
    jpeg = to_jpeg(image.resize(size) if scale < 1 else image)
    return {"type": "image", "mime_type": "image/jpeg", "base64": base64.b64encode(jpeg).decode()}
