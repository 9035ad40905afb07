"""The tools of florence_rag as LlamaIndex tools: text for the model, the data as raw_output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llama_index.core.tools import FunctionTool, ToolMetadata, ToolOutput
from llama_index.core.tools.tool_spec.base import SPEC_FUNCTION_TYPE, BaseToolSpec

from florence_rag import FlorenceRAG
from florence_rag.tools import AskImage, SearchImages, Tool
from llama_index_florence._convert import tool_to_metadata


class FlorenceTool(FunctionTool):
    """One tool of florence_rag. A call that cannot work comes back as a short text with is_error set."""

    def __init__(self, tool: Tool, metadata: ToolMetadata | None = None, **settings: Any) -> None:
        self.tool = tool
        super().__init__(fn=tool, metadata=metadata or tool_to_metadata(tool), **settings)

    def call(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """ToolOutput: content for the model, raw_output as JSON-ready data."""
        return _unpacked(super().call(*args, **kwargs))

    async def acall(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """The same in a worker thread; the event loop goes on."""
        return _unpacked(await super().acall(*args, **kwargs))


class MeterVQATool(FlorenceTool):
    """ask_image: METER looks at one picture and answers one question, with confidence, candidates and citation.

    allow_paths: a folder whose files the agent may name by path. Without it, ids of search results and data URIs only.
    """

    def __init__(self, rag: FlorenceRAG, *, allow_paths: str | Path | None = None, **settings: Any) -> None:
        super().__init__(AskImage(rag, allow_paths), **settings)


class FlorenceSearchTool(FlorenceTool):
    """search_images: finds images, clips, pages and passages by a description."""

    def __init__(self, rag: FlorenceRAG, **settings: Any) -> None:
        super().__init__(SearchImages(rag), **settings)


class FlorenceToolSpec(BaseToolSpec):
    """All tools over one index: `FunctionAgent(tools=FlorenceToolSpec(rag).to_tool_list(), llm=llm)`."""

    spec_functions: list[SPEC_FUNCTION_TYPE] = [SearchImages.name, AskImage.name]

    def __init__(self, rag: FlorenceRAG, *, allow_paths: str | Path | None = None) -> None:
        self.search_images = SearchImages(rag)
        self.ask_image = AskImage(rag, allow_paths)

    def to_tool_list(
        self,
        spec_functions: list[SPEC_FUNCTION_TYPE] | None = None,
        func_to_metadata_mapping: dict[str, ToolMetadata] | None = None,
    ) -> list[FunctionTool]:
        """The tools, or those that spec_functions names; each runs in a worker thread when awaited."""
        metadata = func_to_metadata_mapping or {}
        names = [spec if isinstance(spec, str) else spec[0] for spec in spec_functions or self.spec_functions]
        return [FlorenceTool(getattr(self, name), metadata.get(name)) for name in names]


def _unpacked(output: ToolOutput) -> ToolOutput:
    result = output.raw_output
    output.raw_output, output.is_error = result.artifact, result.is_error
    return output
