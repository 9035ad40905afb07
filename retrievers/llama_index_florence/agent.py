"""ImageAgent: a FunctionAgent that places the images of tool results where its LLM accepts them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import BaseMemory
from llama_index.core.workflow import Context

from florence_rag.tools import Block
from llama_index_florence.tools import FlorenceTool, blocks_to_content, image_mode_for


class ImageAgent(FunctionAgent):
    """An agent that shows images: `ImageAgent(tools=FlorenceToolSpec(rag, image_mode="user").to_tool_list(), llm=llm)`.

    For tools with the mode "user", one user message with their images follows all results of a step, as providers
    require. Tools with the mode "auto" use what the LLM declares; see `image_mode_for`.
    """

    async def handle_tool_call_results(self, ctx: Context, results: list[ToolCallResult], memory: BaseMemory) -> None:
        """Add the results to the conversation, with their images."""
        blocks = await asyncio.to_thread(self._place_images, results)
        await super().handle_tool_call_results(ctx, results, memory)
        if blocks and not any(result.return_direct for result in results):
            messages = [*await ctx.store.get(self.scratchpad_key, default=[])]
            messages.append(ChatMessage(role="user", blocks=blocks_to_content(blocks)))
            await ctx.store.set(self.scratchpad_key, messages)

    def _place_images(self, results: Sequence[ToolCallResult]) -> list[Block]:
        """Complete the results of tools with the mode "auto", and return the blocks for a user message."""
        tools = {tool.metadata.name: tool for tool in self.tools or () if isinstance(tool, FlorenceTool)}
        blocks: list[Block] = []
        for result in results:
            tool, output = tools.get(result.tool_name), result.tool_output
            if tool is None or output.is_error:
                continue
            mode = image_mode_for(self.llm) if tool.image_mode == "auto" else tool.image_mode
            if tool.image_mode == "auto":
                output.blocks = blocks_to_content(tool.show(output.content, output.raw_output, mode))
            if mode == "user":
                blocks += tool.show.user_blocks([(result.tool_id, result.tool_name, output.raw_output)])
        return blocks
