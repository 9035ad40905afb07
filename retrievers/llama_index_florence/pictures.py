"""Pictures of tool results in front of any LLM: where it takes them, or in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ContentBlock, ImageBlock, TextBlock
from llama_index.core.llms import LLM

from florence_rag.tools import Block, Pictures, RenderedImage


def pictures_for(llm: LLM) -> Pictures:
    """Where the LLM takes pictures: "tool", "user", or "text" for one that says nothing of them.

    LlamaIndex's LLMMetadata has no field for it. Read are image_tool_message and image_inputs, LangChain's names, of
    the metadata of LLMs that have them; for all others name the way yourself. Know that integrations differ in
    silence: some turn the blocks of a tool message into text, which leaves the pictures out; "user" is safe.
    """
    metadata: Any = llm.metadata
    if getattr(metadata, "image_tool_message", False):
        return "tool"
    return "user" if getattr(metadata, "image_inputs", False) else "text"


def blocks_to_content(blocks: Sequence[Block]) -> list[ContentBlock]:
    """As LlamaIndex's content blocks."""
    return [_to_block(block) for block in blocks]


def _to_block(block: Block) -> ContentBlock:
    if isinstance(block, RenderedImage):
        return ImageBlock(image=block.jpeg, image_mimetype="image/jpeg")
    return TextBlock(text=block)
