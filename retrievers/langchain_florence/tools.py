"""The tools of florence_rag as LangChain tools: text for the model, the data as artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from langchain_core.tools import BaseTool, ToolException
from pydantic import ConfigDict, Field

from florence_rag import FlorenceRAG
from florence_rag.tools import AskImage, SearchImages, Tool
from langchain_florence._convert import tool_to_args_schema, validation_error_to_text


class FlorenceTool(BaseTool):
    """One tool of florence_rag. A call that cannot work comes back as a short message with status "error"."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    tool: Tool = Field(exclude=True, repr=False)
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = True
    handle_validation_error: Any = validation_error_to_text

    def __init__(self, *, tool: Tool, **settings: Any) -> None:
        defaults = {"name": tool.name, "description": tool.description, "args_schema": tool_to_args_schema(tool)}
        super().__init__(tool=tool, **{**defaults, **settings})

    def _run(self, *args: Any, **kwargs: Any) -> tuple[str, dict[str, Any]]:
        result = self.tool(*args, **kwargs)
        if result.is_error:
            raise ToolException(result.text)
        return result.text, result.artifact


class MeterVQATool(FlorenceTool):
    """ask_image: METER looks at one picture and answers one question, with confidence, candidates and citation.

    allow_paths: a folder whose files the agent may name by path. Without it, ids of search results and data URIs only.
    """

    def __init__(self, *, rag: FlorenceRAG, allow_paths: str | Path | None = None, **settings: Any) -> None:
        super().__init__(tool=AskImage(rag, allow_paths), **settings)


class FlorenceSearchTool(FlorenceTool):
    """search_images: finds images, clips, pages and passages by a description."""

    def __init__(self, *, rag: FlorenceRAG, **settings: Any) -> None:
        super().__init__(tool=SearchImages(rag), **settings)


def florence_tools(rag: FlorenceRAG, *, allow_paths: str | Path | None = None) -> list[BaseTool]:
    """All tools over one index, for `create_agent(model, tools=florence_tools(rag))`."""
    return [FlorenceSearchTool(rag=rag), MeterVQATool(rag=rag, allow_paths=allow_paths)]
