"""Places the images of tool results where a chat model accepts them, or describes them in text."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeGuard

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, ToolMessage

from florence_rag import FlorenceRAG
from florence_rag.tools import Block, Budget, ImageMode, ImageRenderer, RenderedImage, check_image_mode, images_in

NEWEST = 3


def image_mode_for(model: BaseChatModel) -> ImageMode:
    """Return where a model accepts images, from its profile.

    Returns:
        "tool", "user", or "text" if the profile does not mention images.
    """
    profile = model.profile or {}
    if profile.get("image_tool_message"):
        return "tool"
    return "user" if profile.get("image_inputs") else "text"


def place_images(
    messages: Sequence[AnyMessage],
    rag: FlorenceRAG,
    image_mode: ImageMode | BaseChatModel = "user",
    budget: Budget | None = None,
    newest: int = NEWEST,
) -> list[AnyMessage]:
    """Return the messages with the images of our tool results; the given messages are not changed.

    Args:
        messages: The conversation.
        rag: The index that the tools work on.
        image_mode: "tool" places images in their tool message, "user" in one user message after all results of a turn,
            "text" describes them; a model stands for the mode that its profile declares.
        budget: The limits for the images of one tool result.
        newest: The number of newest results that are shown with images; older ones keep their text, because the whole
            conversation is sent again at each turn.
    """
    return ImagePlacer(rag, budget, newest)(messages, image_mode)


class ImagePlacer:
    """`place_images` with a cache of loaded images.

    Args:
        rag: The index that the tools work on.
        budget: The limits for the images of one tool result.
        newest: The number of newest results that are shown with images.
    """

    def __init__(self, rag: FlorenceRAG, budget: Budget | None = None, newest: int = NEWEST) -> None:
        self._show = ImageRenderer(rag, budget)
        self._newest = newest

    def __call__(self, messages: Sequence[AnyMessage], image_mode: ImageMode | BaseChatModel) -> list[AnyMessage]:
        """Return the messages with images, as `place_images` does."""
        mode = check_image_mode(image_mode) if isinstance(image_mode, str) else image_mode_for(image_mode)
        shown = self._shown_calls(messages)
        placed: list[AnyMessage] = []
        for is_result, turn in groupby(messages, lambda message: isinstance(message, ToolMessage)):
            results = [self._placed(message, mode, shown) for message in turn]
            placed += results
            if is_result and mode == "user":
                placed += self._user_message(message for message in results if _is_shown(message, shown))
        return placed

    def _shown_calls(self, messages: Sequence[AnyMessage]) -> set[str]:
        calls = [message.tool_call_id for message in messages if _is_ours(message)]
        return set(calls[-self._newest :]) if self._newest > 0 else set()

    def _placed(self, message: Any, mode: ImageMode, shown: set[str]) -> Any:
        """Rebuild one of our tool messages from its text and artifact; return any other unchanged."""
        if not _is_ours(message):
            return message
        text = _first_text(message)
        blocks = self._show(text, message.artifact, mode) if _is_shown(message, shown) else [text]
        return message.model_copy(update={"content": blocks_to_content(blocks)})

    def _user_message(self, results: Iterable[ToolMessage]) -> Iterator[HumanMessage]:
        blocks: list[Block] = []
        for message in results:
            if found := self._show.blocks(images_in(message.artifact)):
                blocks += [f"Images of the call {message.tool_call_id} of {message.name or 'a tool'}:", *found]
        if blocks:
            yield HumanMessage([_block_to_dict(block) for block in blocks])


def blocks_to_content(blocks: Sequence[Block]) -> str | list[str | dict[str, Any]]:
    """Return a string for text alone, which every model accepts, and standard content blocks if there are images."""
    if len(blocks) == 1 and isinstance(blocks[0], str):
        return blocks[0]
    return [_block_to_dict(block) for block in blocks]


def _block_to_dict(block: Block) -> dict[str, Any]:
    if isinstance(block, RenderedImage):
        return {"type": "image", "mime_type": "image/jpeg", "base64": base64.b64encode(block.jpeg).decode()}
    return {"type": "text", "text": block}


def _is_ours(message: BaseMessage) -> TypeGuard[ToolMessage]:
    """Return whether the message is a result of one of our tools that has images."""
    return isinstance(message, ToolMessage) and message.status == "success" and bool(images_in(message.artifact))


def _is_shown(message: BaseMessage, shown: set[str]) -> bool:
    return _is_ours(message) and message.tool_call_id in shown


def _first_text(message: ToolMessage) -> str:
    """Return the text of a tool message, without image blocks."""
    if isinstance(message.content, str):
        return message.content
    return next((block["text"] for block in message.content if isinstance(block, dict) and "text" in block), "")
