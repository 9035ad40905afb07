"""ImageAgent: a FunctionAgent that places the images of tool results where its LLM accepts them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import BaseMemory
from llama_index.core.workflow import Context

from florence_rag.tools import Block, ImageMode, images_in
from llama_index_florence.images import blocks_to_content, image_mode_for
from llama_index_florence.tools import FlorenceTool


class ImageAgent(FunctionAgent):
    """An agent that shows images: `ImageAgent(tools=FlorenceToolSpec(rag, image_mode="user").to_tool_list(), llm=llm)`.

    For tools with the mode "user", one user message with their images follows all results of a step, as providers
    require. Tools with the mode "auto" use what the LLM declares; see `image_mode_for`.
    """

    async def handle_tool_call_results(self, ctx: Context, results: list[ToolCallResult], memory: BaseMemory) -> None:
        """Add the results to the conversation, with their images."""
        modes = {tool: self._mode(tool) for tool in self.tools or () if isinstance(tool, FlorenceTool)}
        found = await asyncio.to_thread(_show_results, results, modes)
        await super().handle_tool_call_results(ctx, results, memory)
        if found and not any(result.return_direct for result in results):
            messages = [*await ctx.store.get(self.scratchpad_key, default=[])]
            messages.append(ChatMessage(role="user", blocks=blocks_to_content(found)))
            await ctx.store.set(self.scratchpad_key, messages)

    def _mode(self, tool: FlorenceTool) -> ImageMode:
        return image_mode_for(self.llm) if tool.image_mode == "auto" else tool.image_mode


def _show_results(results: Sequence[ToolCallResult], modes: Mapping[FlorenceTool, ImageMode]) -> list[Block]:
    """Complete the results of tools with the mode "auto", and return the blocks for a user message."""
    named = {tool.metadata.name: tool for tool in modes}
    blocks: list[Block] = []
    for result in results:
        tool = named.get(result.tool_name)
        if tool is None or result.tool_output.is_error:
            continue
        if tool.image_mode == "auto":
            output = result.tool_output
            output.blocks = blocks_to_content(tool.show(output.content, output.raw_output, modes[tool]))
        if modes[tool] == "user":
            blocks += _of_call(result, tool)
    return blocks


def _of_call(result: ToolCallResult, tool: FlorenceTool) -> Iterator[Block]:
    if shown := tool.show.blocks(images_in(result.tool_output.raw_output)):
        yield f"Images of the call {result.tool_id} of {result.tool_name}:"
        yield from shown
