"""The tools of florence_rag as LangChain tools: text and images for the model, the data as artifact."""

from pathlib import Path
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool, ToolException
from pydantic import ConfigDict, Field

from florence_rag import FlorenceRAG
from florence_rag.tools import (
    AskImage,
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
from florence_rag.tools.base import MAX_ERROR
from florence_rag.untrusted_text import one_line
from florence_rag.validation import validate_arguments
from langchain_florence.images import blocks_to_content, image_mode_for


def _validation_error_to_text(error: Any) -> str:
    """Return one line that names the missing or unknown argument."""
    problems = (f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
    return one_line(f"{error.title} failed: {'; '.join(problems)}", MAX_ERROR)


@validate_arguments
class FlorenceTool(BaseTool):
    """One tool of florence_rag. A wrong call returns a short message with status "error".

    Attributes:
        tool: The tool.
        image_mode: "tool" places image blocks in the tool message, "text" describes the images; "user" and "auto" leave
            them to `place_images` or `FlorenceImages`, which know the model.
        budget: The limits for the images of one result.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    tool: Tool = Field(exclude=True, repr=False)
    image_mode: ImageMode = "auto"
    budget: Budget = Budget()
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = True
    handle_validation_error: Any = _validation_error_to_text

    def __init__(self, *, tool: Tool, **settings: Any) -> None:
        defaults = {
            "name": tool.name,
            "description": tool.description,
            "args_schema": unchecked_model(tool.name, tool.parameters),
        }
        super().__init__(tool=tool, **{**defaults, **settings})

    def _run(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        result = self.tool(*args, **kwargs)
        if result.is_error:
            raise ToolException(result.text)
        blocks = ImageRenderer(self.tool.rag, self.budget)(result.text, result.artifact, self.image_mode)
        return blocks_to_content(blocks), result.artifact


@validate_arguments
class VQATool(FlorenceTool):
    """ask_image: the VQA model answers one question about one image, with confidence, candidates and citation.

    The arguments are those of `florence_tools` and `FlorenceTool`.
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


@validate_arguments
class FlorenceSearchTool(FlorenceTool):
    """search_images: finds images, clips, pages and passages by a description."""

    def __init__(self, *, rag: FlorenceRAG, **settings: Any) -> None:
        super().__init__(tool=SearchImages(rag), **settings)


@validate_arguments
def florence_tools(
    rag: FlorenceRAG,
    *,
    allow_paths: str | Path | None = None,
    allow_urls: bool | UrlRules = False,
    image_mode: ImageMode = "auto",
    budget: Budget | None = None,
    model: BaseChatModel | None = None,
) -> list[BaseTool]:
    """Return the tools that the index supports, for `create_agent(model, tools=florence_tools(rag))`.

    Args:
        rag: The index.
        allow_paths: A folder whose files an agent may name by path. By default, an agent may only pass ids of search
            results and data URIs.
        allow_urls: Whether an agent may name images on the web; `UrlRules` restricts them further.
        image_mode: Where images are placed; see `FlorenceTool`. "auto" uses the profile of `model`, if it is given.
        budget: The limits for the images of one result.
        model: The chat model that calls the tools.
    """
    check_image_mode(image_mode)
    if image_mode == "auto" and model is not None:
        image_mode = image_mode_for(model)
    tools = tools_for(rag, allow_paths=allow_paths, allow_urls=allow_urls)
    return [FlorenceTool(tool=tool, image_mode=image_mode, budget=budget or Budget()) for tool in tools]
