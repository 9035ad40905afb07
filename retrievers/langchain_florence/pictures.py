"""Pictures of tool results in front of any chat model: where it takes them, or in words."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeGuard

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, ToolMessage

from florence_rag import FlorenceRAG
from florence_rag.tools import Block, Budget, ImageRenderer, Pictures, RenderedImage, check_pictures, pictures_in

NEWEST = 3


def pictures_for(model: BaseChatModel) -> Pictures:
    """Where the model takes pictures, by its profile: "tool", "user", or "text" for one that says nothing of them."""
    profile = model.profile or {}
    if profile.get("image_tool_message"):
        return "tool"
    return "user" if profile.get("image_inputs") else "text"


def place_pictures(
    messages: Sequence[AnyMessage],
    rag: FlorenceRAG,
    pictures: Pictures | BaseChatModel = "user",
    budget: Budget | None = None,
    newest: int = NEWEST,
) -> list[AnyMessage]:
    """The messages as a model can take them; those given are not changed.

    Pictures of our tools' results come into their tool message, or into one user message after all results of a turn,
    as providers want it, or are told in words. pictures: the way, or the model that tells it by its profile. newest: of
    so many results; older ones keep their text, for a conversation is sent anew with each of its turns.
    """
    return PicturePlacer(rag, budget, newest)(messages, pictures)


class PicturePlacer:
    """place_pictures that remembers what it has loaded."""

    def __init__(self, rag: FlorenceRAG, budget: Budget | None = None, newest: int = NEWEST) -> None:
        self._show = ImageRenderer(rag, budget)
        self._newest = newest

    def __call__(self, messages: Sequence[AnyMessage], pictures: Pictures | BaseChatModel) -> list[AnyMessage]:
        """See place_pictures."""
        way = check_pictures(pictures) if isinstance(pictures, str) else pictures_for(pictures)
        shown = self._shown_calls(messages)
        placed: list[AnyMessage] = []
        for is_result, turn in groupby(messages, lambda message: isinstance(message, ToolMessage)):
            results = [self._placed(message, way, shown) for message in turn]
            placed += results
            if is_result and way == "user":
                placed += self._user_message(message for message in results if _is_shown(message, shown))
        return placed

    def _shown_calls(self, messages: Sequence[AnyMessage]) -> set[str]:
        calls = [message.tool_call_id for message in messages if _is_ours(message)]
        return set(calls[-self._newest :]) if self._newest > 0 else set()

    def _placed(self, message: Any, way: Pictures, shown: set[str]) -> Any:
        """A tool message of ours made anew from its text and artifact; any other as it is."""
        if not _is_ours(message):
            return message
        text = _first_text(message)
        blocks = self._show(text, message.artifact, way) if _is_shown(message, shown) else [text]
        return message.model_copy(update={"content": blocks_to_content(blocks)})

    def _user_message(self, results: Iterable[ToolMessage]) -> Iterator[HumanMessage]:
        blocks: list[Block] = []
        for message in results:
            if found := self._show.shown(pictures_in(message.artifact)):
                blocks += [f"Of the call {message.tool_call_id} of {message.name or 'a tool'}:", *found]
        if blocks:
            yield HumanMessage([_block_to_dict(block) for block in blocks])


def blocks_to_content(blocks: Sequence[Block]) -> str | list[str | dict[str, Any]]:
    """Text alone as a string, which every model takes; with pictures as standard content blocks."""
    if len(blocks) == 1 and isinstance(blocks[0], str):
        return blocks[0]
    return [_block_to_dict(block) for block in blocks]


def _block_to_dict(block: Block) -> dict[str, Any]:
    if isinstance(block, RenderedImage):
        return {"type": "image", "mime_type": "image/jpeg", "base64": base64.b64encode(block.jpeg).decode()}
    return {"type": "text", "text": block}


def _is_ours(message: BaseMessage) -> TypeGuard[ToolMessage]:
    """Whether it is the result of a tool of florence_rag, with pictures."""
    return isinstance(message, ToolMessage) and message.status == "success" and bool(pictures_in(message.artifact))


def _is_shown(message: BaseMessage, shown: set[str]) -> bool:
    return _is_ours(message) and message.tool_call_id in shown


def _first_text(message: ToolMessage) -> str:
    """What the tool said, without the pictures that it may have put below."""
    if isinstance(message.content, str):
        return message.content
    return next((block["text"] for block in message.content if isinstance(block, dict) and "text" in block), "")
