"""Places the images of tool results where an LLM accepts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ContentBlock, ImageBlock, TextBlock
from llama_index.core.llms import LLM

from florence_rag.tools import Block, ImageMode, RenderedImage


def image_mode_for(llm: LLM) -> ImageMode:
    """Return where an LLM accepts images.

    LlamaIndex's LLMMetadata has no field for this. The fields `image_tool_message` and `image_inputs` (LangChain's
    names) are read if an LLM's metadata have them; for all others, choose the mode yourself. Some integrations silently
    turn the blocks of a tool message into text and drop the images; "user" is safe.

    Returns:
        "tool", "user", or "text" if the LLM declares nothing.
    """
    metadata: Any = llm.metadata
    if getattr(metadata, "image_tool_message", False):
        return "tool"
    return "user" if getattr(metadata, "image_inputs", False) else "text"


def blocks_to_content(blocks: Sequence[Block]) -> list[ContentBlock]:
    """Return LlamaIndex content blocks."""
    return [_to_block(block) for block in blocks]


def _to_block(block: Block) -> ContentBlock:
    if isinstance(block, RenderedImage):
        return ImageBlock(image=block.jpeg, image_mimetype="image/jpeg")
    return TextBlock(text=block)
