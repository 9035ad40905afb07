"""Places the images of tool results where a chat model accepts them, or describes them in text."""

import base64
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, TypeGuard

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, ToolMessage

from florence_rag import FlorenceRAG
from florence_rag.tools import Block, Budget, ImageMode, ImageRenderer, check_image_mode, images_in
from florence_rag.validation import validate_arguments

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


@validate_arguments
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


@validate_arguments
class ImagePlacer:
    """`place_images` with a cache of loaded images; the arguments are those of `place_images`."""

    def __init__(self, rag: FlorenceRAG, budget: Budget | None = None, newest: int = NEWEST) -> None:
        self._show = ImageRenderer(rag, budget)
        self._newest = newest

    def __call__(self, messages: Sequence[AnyMessage], image_mode: ImageMode | BaseChatModel) -> list[AnyMessage]:
        """Return the messages with images, as `place_images` does."""
        mode = check_image_mode(image_mode) if isinstance(image_mode, str) else image_mode_for(image_mode)
        calls = [message.tool_call_id for message in messages if _is_ours(message)]
        shown = set(calls[-self._newest :]) if self._newest > 0 else set()
        placed: list[AnyMessage] = []
        for is_result, turn in groupby(messages, lambda message: isinstance(message, ToolMessage)):
            results = list(turn)
            placed += [self._with_content(message, mode, shown) for message in results]
            if is_result and mode == "user":
                ours = (message for message in results if _is_ours(message) and message.tool_call_id in shown)
                named = [(message.tool_call_id, message.name or "a tool", message.artifact) for message in ours]
                if blocks := self._show.user_blocks(named):
                    placed.append(HumanMessage(blocks_to_content(blocks)))
        return placed

    def _with_content(self, message: AnyMessage, mode: ImageMode, shown: set[str]) -> AnyMessage:
        """Rebuild one of our tool messages from its text and artifact; return any other unchanged."""
        if not _is_ours(message):
            return message
        blocks = self._show(_first_text(message), message.artifact, mode if message.tool_call_id in shown else "user")
        return message.model_copy(update={"content": blocks_to_content(blocks)})


def blocks_to_content(blocks: Sequence[Block]) -> str | list[str | dict[str, Any]]:
    """Return a string for text alone, which every model accepts, and standard content blocks if there are images."""
    if len(blocks) == 1 and isinstance(blocks[0], str):
        return blocks[0]
    return [
        {"type": "text", "text": block} if isinstance(block, str) else jpeg_to_block(block.jpeg) for block in blocks
    ]


def jpeg_to_block(jpeg: bytes) -> dict[str, Any]:
    """Return an image as a standard content block."""
    return {"type": "image", "mime_type": "image/jpeg", "base64": base64.b64encode(jpeg).decode()}


def block_to_image(image: Any) -> Any:
    """Return the image of a content block, standard or of a provider, as a URL; anything else as it is."""
    if not isinstance(image, Mapping):
        return image
    block: Mapping[str, Any] = HumanMessage([dict(image)]).content_blocks[0]
    return f"data:;base64,{block['base64']}" if "base64" in block else block.get("url", image)


def _is_ours(message: BaseMessage) -> TypeGuard[ToolMessage]:
    """Return whether the message is a result of one of our tools that has images."""
    return isinstance(message, ToolMessage) and message.status == "success" and bool(images_in(message.artifact))


def _first_text(message: ToolMessage) -> str:
    """Return the text of a tool message, without image blocks."""
    if isinstance(message.content, str):
        return message.content
    return next((block["text"] for block in message.content if isinstance(block, dict) and "text" in block), "")
