"""The tools that an index supports: a tool is offered only if its model is available."""

from __future__ import annotations

from pathlib import Path

from florence_rag.rag import FlorenceRAG
from florence_rag.tools.ask_image import AskImage
from florence_rag.tools.base import Tool
from florence_rag.tools.classify_image import ClassifyImage
from florence_rag.tools.describe_image import DescribeImage
from florence_rag.tools.detect_objects import DetectObjects
from florence_rag.tools.find_similar import FindSimilar
from florence_rag.tools.find_video_moment import FindVideoMoment
from florence_rag.tools.image_argument import ImageTool
from florence_rag.tools.read_text import ReadText
from florence_rag.tools.recommend import Recommend
from florence_rag.tools.safe_fetch import UrlRules
from florence_rag.tools.search_images import SearchImages
from florence_rag.tools.tag_image import TagImage

IMAGE_TOOLS: tuple[type[ImageTool], ...] = (
    AskImage,
    DescribeImage,
    FindSimilar,
    ReadText,
    DetectObjects,
    ClassifyImage,
    TagImage,
)


def tools_for(
    rag: FlorenceRAG, *, allow_paths: str | Path | None = None, allow_urls: bool | UrlRules = False
) -> list[Tool]:
    """Return the tools: search first, then those that take one image, then recommendation and videos.

    Args:
        rag: The index that the tools work on.
        allow_paths: A folder whose files an agent may name by path.
        allow_urls: Whether an agent may name images on the web; `UrlRules` restricts them further.
    """
    image_tools = [tool(rag, allow_paths, allow_urls) for tool in IMAGE_TOOLS if tool.is_available(rag)]
    return [SearchImages(rag), *image_tools, Recommend(rag), FindVideoMoment(rag)]
