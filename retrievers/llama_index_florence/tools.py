"""The tools of florence_rag as LlamaIndex tools: text for the model, pictures if it takes them, data as raw_output."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from llama_index.core.llms import LLM
from llama_index.core.tools import FunctionTool, ToolMetadata, ToolOutput
from llama_index.core.tools.tool_spec.base import SPEC_FUNCTION_TYPE, BaseToolSpec

from florence_rag import FlorenceRAG
from florence_rag.tools import (
    AskImage,
    Budget,
    ImageRenderer,
    Pictures,
    SearchImages,
    Tool,
    UrlRules,
    check_pictures,
    tools_for,
)
from llama_index_florence._convert import tool_to_metadata
from llama_index_florence.pictures import blocks_to_content, pictures_for


class FlorenceTool(FunctionTool):
    """One tool of florence_rag. A call that cannot work comes back as a short text with is_error set.

    pictures: "tool" puts image blocks into the output, "text" tells in words what they show; "user" and "auto" leave
    them to a PictureAgent, which knows the model. budget: of the pictures of one result.
    """

    def __init__(
        self,
        tool: Tool,
        metadata: ToolMetadata | None = None,
        *,
        pictures: Pictures = "auto",
        budget: Budget | None = None,
        **settings: Any,
    ) -> None:
        self.tool = tool
        self.pictures = check_pictures(pictures)
        self.show = ImageRenderer(tool.rag, budget)
        super().__init__(fn=tool, metadata=metadata or tool_to_metadata(tool), **settings)

    def call(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """ToolOutput: blocks for the model, raw_output as JSON-ready data."""
        return self._unpacked(super().call(*args, **kwargs))

    async def acall(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """The same in a worker thread; the event loop goes on."""
        output = await super().acall(*args, **kwargs)
        return await asyncio.to_thread(self._unpacked, output)

    def _unpacked(self, output: ToolOutput) -> ToolOutput:
        result = output.raw_output
        output.raw_output, output.is_error = result.artifact, result.is_error
        output.blocks = blocks_to_content(self.show(result.text, result.artifact, self.pictures))
        return output


class MeterVQATool(FlorenceTool):
    """ask_image: METER looks at one picture and answers one question, with confidence, candidates and citation.

    allow_paths: a folder whose files the agent may name by path. allow_urls: whether it may name pictures on the web.
    Without them, ids of search results and data URIs only.
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


class FlorenceSearchTool(FlorenceTool):
    """search_images: finds images, clips, pages and passages by a description."""

    def __init__(self, rag: FlorenceRAG, **settings: Any) -> None:
        super().__init__(SearchImages(rag), **settings)


class FlorenceToolSpec(BaseToolSpec):
    """The tools that the index can serve: `FunctionAgent(tools=FlorenceToolSpec(rag).to_tool_list(), llm=llm)`.

    pictures: how they reach the model, see FlorenceTool; "auto" goes by what llm says of itself where it is given.
    """

    def __init__(
        self,
        rag: FlorenceRAG,
        *,
        allow_paths: str | Path | None = None,
        allow_urls: bool | UrlRules = False,
        pictures: Pictures = "auto",
        budget: Budget | None = None,
        llm: LLM | None = None,
    ) -> None:
        check_pictures(pictures)
        self._pictures = pictures_for(llm) if pictures == "auto" and llm is not None else pictures
        self._budget = budget
        self._tools = {tool.name: tool for tool in tools_for(rag, allow_paths=allow_paths, allow_urls=allow_urls)}
        self.spec_functions: list[SPEC_FUNCTION_TYPE] = list(self._tools)

    def __getattr__(self, name: str) -> Tool:
        """The tool of this name, as LlamaIndex expects of the functions of a spec."""
        tools: dict[str, Tool] = self.__dict__.get("_tools", {})
        if name not in tools:
            raise AttributeError(f"this index serves no tool {name!r}; it serves {', '.join(tools)}")
        return tools[name]

    def to_tool_list(
        self,
        spec_functions: list[SPEC_FUNCTION_TYPE] | None = None,
        func_to_metadata_mapping: dict[str, ToolMetadata] | None = None,
    ) -> list[FunctionTool]:
        """The tools, or those that spec_functions names; each runs in a worker thread when awaited."""
        metadata = func_to_metadata_mapping or {}
        names = [spec if isinstance(spec, str) else spec[0] for spec in spec_functions or self.spec_functions]
        settings: dict[str, Any] = {"pictures": self._pictures, "budget": self._budget}
        return [FlorenceTool(getattr(self, name), metadata.get(name), **settings) for name in names]
