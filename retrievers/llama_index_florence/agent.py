"""PictureAgent: a FunctionAgent that puts the tools' pictures where its LLM takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import BaseMemory
from llama_index.core.workflow import Context

from florence_rag.tools import Block, Pictures, pictures_in
from llama_index_florence.pictures import blocks_to_content, pictures_for
from llama_index_florence.tools import FlorenceTool


class PictureAgent(FunctionAgent):
    """`PictureAgent(tools=FlorenceToolSpec(rag, pictures="user").to_tool_list(), llm=llm)`.

    Tools that say "user" get one user message with their pictures after all results of a step, as providers want it;
    tools that say "auto" go by what the LLM says of itself, see pictures_for.
    """

    async def handle_tool_call_results(self, ctx: Context, results: list[ToolCallResult], memory: BaseMemory) -> None:
        """Take the results into the conversation, with their pictures."""
        ways = {tool: self._way(tool) for tool in self.tools or () if isinstance(tool, FlorenceTool)}
        found = await asyncio.to_thread(_show_results, results, ways)
        await super().handle_tool_call_results(ctx, results, memory)
        if found and not any(result.return_direct for result in results):
            messages = [*await ctx.store.get(self.scratchpad_key, default=[])]
            messages.append(ChatMessage(role="user", blocks=blocks_to_content(found)))
            await ctx.store.set(self.scratchpad_key, messages)

    def _way(self, tool: FlorenceTool) -> Pictures:
        return pictures_for(self.llm) if tool.pictures == "auto" else tool.pictures


def _show_results(results: Sequence[ToolCallResult], ways: Mapping[FlorenceTool, Pictures]) -> list[Block]:
    """Gives the results of tools that were opened with "auto" what belongs into them, and collects the rest."""
    named = {tool.metadata.name: tool for tool in ways}
    blocks: list[Block] = []
    for result in results:
        tool = named.get(result.tool_name)
        if tool is None or result.tool_output.is_error:
            continue
        if tool.pictures == "auto":
            output = result.tool_output
            output.blocks = blocks_to_content(tool.show(output.content, output.raw_output, ways[tool]))
        if ways[tool] == "user":
            blocks += _of_call(result, tool)
    return blocks


def _of_call(result: ToolCallResult, tool: FlorenceTool) -> Iterator[Block]:
    if shown := tool.show.shown(pictures_in(result.tool_output.raw_output)):
        yield f"Of the call {result.tool_id} of {result.tool_name}:"
        yield from shown
