"""The tools of florence_rag as LangChain tools: text for the model, with or without pictures, the data as artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool, ToolException
from pydantic import ConfigDict, Field

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
from langchain_florence._convert import tool_to_args_schema, validation_error_to_text
from langchain_florence.pictures import blocks_to_content, pictures_for


class FlorenceTool(BaseTool):
    """One tool of florence_rag. A call that cannot work comes back as a short message with status "error".

    pictures: "tool" puts image blocks into the tool message, "text" tells in words what they show; "user" and "auto"
    leave them to `place_pictures` or `FlorencePictures`, which know the model. budget: of the pictures of one result.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    tool: Tool = Field(exclude=True, repr=False)
    pictures: Pictures = "auto"
    budget: Budget = Budget()
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = True
    handle_validation_error: Any = validation_error_to_text

    def __init__(self, *, tool: Tool, **settings: Any) -> None:
        defaults = {"name": tool.name, "description": tool.description, "args_schema": tool_to_args_schema(tool)}
        super().__init__(tool=tool, **{**defaults, **settings})

    def _run(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        result = self.tool(*args, **kwargs)
        if result.is_error:
            raise ToolException(result.text)
        blocks = ImageRenderer(self.tool.rag, self.budget)(result.text, result.artifact, self.pictures)
        return blocks_to_content(blocks), result.artifact


class MeterVQATool(FlorenceTool):
    """ask_image: METER looks at one picture and answers one question, with confidence, candidates and citation.

    allow_paths: a folder whose files the agent may name by path. allow_urls: whether it may name pictures on the web.
    Without them, ids of search results and data URIs only.
    """

    def __init__(
        self,
        *,
        rag: FlorenceRAG,
        allow_paths: str | Path | None = None,
        allow_urls: bool | UrlRules = False,
        **settings: Any,
    ) -> None:
        super().__init__(tool=AskImage(rag, allow_paths, allow_urls), **settings)


class FlorenceSearchTool(FlorenceTool):
    """search_images: finds images, clips, pages and passages by a description."""

    def __init__(self, *, rag: FlorenceRAG, **settings: Any) -> None:
        super().__init__(tool=SearchImages(rag), **settings)


def florence_tools(
    rag: FlorenceRAG,
    *,
    allow_paths: str | Path | None = None,
    allow_urls: bool | UrlRules = False,
    pictures: Pictures = "auto",
    budget: Budget | None = None,
    model: BaseChatModel | None = None,
) -> list[BaseTool]:
    """The tools that the index can serve, for `create_agent(model, tools=florence_tools(rag))`.

    pictures: how they reach the model, see FlorenceTool; "auto" goes by model's profile where the model is given.
    """
    check_pictures(pictures)
    if pictures == "auto" and model is not None:
        pictures = pictures_for(model)
    offered = tools_for(rag, allow_paths=allow_paths, allow_urls=allow_urls)
    return [FlorenceTool(tool=tool, pictures=pictures, budget=budget or Budget()) for tool in offered]
