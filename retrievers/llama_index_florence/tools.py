"""The tools of florence_rag as LlamaIndex tools, and an agent that places their images where its LLM accepts them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, ContentBlock, ImageBlock, TextBlock
from llama_index.core.llms import LLM
from llama_index.core.memory import BaseMemory
from llama_index.core.tools import FunctionTool, ToolMetadata, ToolOutput
from llama_index.core.tools.tool_spec.base import SPEC_FUNCTION_TYPE, BaseToolSpec
from llama_index.core.workflow import Context

from florence_rag import FlorenceRAG
from florence_rag.tools import (
    AskImage,
    Block,
    Budget,
    ImageMode,
    ImageRenderer,
    SearchImages,
    Tool,
    UrlRules,
    check_image_mode,
    tools_for,
    unchecked_model,
)
from florence_rag.validation import validate_arguments


def image_mode_for(llm: LLM) -> ImageMode:
    """Return where an LLM accepts images.

    LlamaIndex's LLMMetadata has no field for this. The fields `image_tool_message` and `image_inputs` (LangChain's
    names) are read if an LLM's metadata has them; for all others, choose the mode yourself. Some integrations silently
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
    return [
        TextBlock(text=block) if isinstance(block, str) else ImageBlock(image=block.jpeg, image_mimetype="image/jpeg")
        for block in blocks
    ]


@validate_arguments
class FlorenceTool(FunctionTool):
    """One tool of florence_rag. A wrong call returns a short text with `is_error` set.

    Args:
        tool: The tool.
        metadata: Name, description and schema, by default those of the tool.
        image_mode: "tool" places image blocks in the output, "text" describes the images; "user" and "auto" leave them
            to an `ImageAgent`, which knows the model.
        budget: The limits for the images of one result.
        strict: Whether the schema requires all arguments, as `OpenAI(strict=True)` does of every tool. The model then
            leaves those empty that it does not need.
        **settings: Further arguments of LlamaIndex's FunctionTool.
    """

    def __init__(
        self,
        tool: Tool,
        metadata: ToolMetadata | None = None,
        *,
        image_mode: ImageMode = "auto",
        budget: Budget | None = None,
        strict: bool = False,
        **settings: Any,
    ) -> None:
        self.tool = tool
        self.image_mode = check_image_mode(image_mode)
        self.show = ImageRenderer(tool.rag, budget)
        schema = unchecked_model(tool.name, tool.parameters, strict=strict)
        super().__init__(fn=tool, metadata=metadata or ToolMetadata(tool.description, tool.name, schema), **settings)

    def call(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """Call the tool: the output has blocks for the model, and data for the program in `raw_output`."""
        return self._unpacked(super().call(*args, **kwargs))

    async def acall(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """Call the tool in a worker thread."""
        output = await super().acall(*args, **kwargs)
        return await asyncio.to_thread(self._unpacked, output)

    def _unpacked(self, output: ToolOutput) -> ToolOutput:
        result = output.raw_output
        output.raw_output, output.is_error = result.artifact, result.is_error
        output.blocks = blocks_to_content(self.show(result.text, result.artifact, self.image_mode))
        return output


@validate_arguments
class VQATool(FlorenceTool):
    """ask_image: the VQA model answers one question about one image, with confidence, candidates and citation.

    The arguments are those of `FlorenceToolSpec` and `FlorenceTool`.
    """

    def __init__(
        self,
        rag: FlorenceRAG,
        *,
        allow_paths: str | Path | None = None,
        allow_urls: bool | UrlRules = False,
        **settings: Any,
    ) -> None:
        super().__init__(AskImage(rag, allow_paths, allow_urls), **settings)


@validate_arguments
class FlorenceSearchTool(FlorenceTool):
    """search_images: finds images, clips, pages and passages by a description."""

    def __init__(self, rag: FlorenceRAG, **settings: Any) -> None:
        super().__init__(SearchImages(rag), **settings)


@validate_arguments
class FlorenceToolSpec(BaseToolSpec):
    """The tools that an index supports: `FunctionAgent(tools=FlorenceToolSpec(rag).to_tool_list(), llm=llm)`.

    Args:
        rag: The index.
        allow_paths: A folder whose files an agent may name by path. By default, an agent may only pass ids of search
            results and data URIs.
        allow_urls: Whether an agent may name images on the web; `UrlRules` restricts them further.
        image_mode: Where images are placed; see `FlorenceTool`. "auto" uses what `llm` declares, if it is given.
        budget: The limits for the images of one result.
        llm: The LLM that calls the tools.
        strict: As for `FlorenceTool`.
    """

    def __init__(
        self,
        rag: FlorenceRAG,
        *,
        allow_paths: str | Path | None = None,
        allow_urls: bool | UrlRules = False,
        image_mode: ImageMode = "auto",
        budget: Budget | None = None,
        llm: LLM | None = None,
        strict: bool = False,
    ) -> None:
        check_image_mode(image_mode)
        self._image_mode = image_mode_for(llm) if image_mode == "auto" and llm is not None else image_mode
        self._budget, self._strict = budget, strict
        self._tools = {tool.name: tool for tool in tools_for(rag, allow_paths=allow_paths, allow_urls=allow_urls)}
        self.spec_functions: list[SPEC_FUNCTION_TYPE] = list(self._tools)

    def __getattr__(self, name: str) -> Tool:
        """Return the tool of this name, as LlamaIndex expects of the functions of a spec."""
        tools: dict[str, Tool] = self.__dict__.get("_tools", {})
        if name not in tools:
            raise AttributeError(f"this index has no tool {name!r}; it has {', '.join(tools)}")
        return tools[name]

    def to_tool_list(
        self,
        spec_functions: list[SPEC_FUNCTION_TYPE] | None = None,
        func_to_metadata_mapping: dict[str, ToolMetadata] | None = None,
    ) -> list[FunctionTool]:
        """Return the tools of these names, or all of them; each runs in a worker thread when it is awaited."""
        metadata = func_to_metadata_mapping or {}
        names = [spec if isinstance(spec, str) else spec[0] for spec in spec_functions or self.spec_functions]
        settings: dict[str, Any] = {"image_mode": self._image_mode, "budget": self._budget, "strict": self._strict}
        return [FlorenceTool(getattr(self, name), metadata.get(name), **settings) for name in names]


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
