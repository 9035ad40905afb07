"""Agent tools, defined once and bound to no framework, and the list of those that an index supports.

Both plug-ins wrap these objects. A tool is offered only if a model that it needs is available.
"""

from pathlib import Path

from florence_rag.answering.budget import Budget
from florence_rag.rag import FlorenceRAG
from florence_rag.tools.arguments import unchecked_model
from florence_rag.tools.ask_image import AskImage
from florence_rag.tools.base import ImageRef, Tool, ToolResult
from florence_rag.tools.classify_image import ClassifyImage
from florence_rag.tools.describe_image import DescribeImage
from florence_rag.tools.detect_objects import DetectObjects
from florence_rag.tools.find_similar import FindSimilar
from florence_rag.tools.find_video_moment import FindVideoMoment
from florence_rag.tools.formatting import (
    chunk_to_metadata,
    hit_to_metadata,
    hit_to_text,
    metadata_to_chunk,
)
from florence_rag.tools.image_argument import ImageTool
from florence_rag.tools.image_delivery import (
    Block,
    ImageMode,
    ImageRenderer,
    RenderedImage,
    check_image_mode,
    images_in,
)
from florence_rag.tools.read_text import ReadText
from florence_rag.tools.recommend import Recommend
from florence_rag.tools.safe_fetch import UrlRules
from florence_rag.tools.search_images import SearchImages
from florence_rag.tools.tag_image import TagImage
from florence_rag.tools.verify_claim import VerifyClaim
from florence_rag.untrusted_text import place_to_text
from florence_rag.validation import validate_arguments

__all__ = [
    "AskImage",
    "Block",
    "Budget",
    "ClassifyImage",
    "DescribeImage",
    "DetectObjects",
    "FindSimilar",
    "FindVideoMoment",
    "ImageMode",
    "ImageRef",
    "ImageRenderer",
    "ReadText",
    "Recommend",
    "RenderedImage",
    "SearchImages",
    "TagImage",
    "Tool",
    "ToolResult",
    "UrlRules",
    "VerifyClaim",
    "check_image_mode",
    "chunk_to_metadata",
    "hit_to_metadata",
    "hit_to_text",
    "images_in",
    "metadata_to_chunk",
    "place_to_text",
    "tools_for",
    "unchecked_model",
]

IMAGE_TOOLS: tuple[type[ImageTool], ...] = (
    AskImage,
    DescribeImage,
    FindSimilar,
    ReadText,
    DetectObjects,
    ClassifyImage,
    TagImage,
)


@validate_arguments
def tools_for(
    rag: FlorenceRAG, *, allow_paths: str | Path | None = None, allow_urls: bool | UrlRules = False
) -> list[Tool]:
    """Return the tools: search first, then those that take one image, then recommendation, videos and verification.

    Args:
        rag: The index that the tools work on.
        allow_paths: A folder whose files an agent may name by path.
        allow_urls: Whether an agent may name images on the web; `UrlRules` restricts them further.
    """
    image_tools = [tool(rag, allow_paths, allow_urls) for tool in IMAGE_TOOLS if tool.is_available(rag)]
    return [SearchImages(rag), *image_tools, Recommend(rag), FindVideoMoment(rag), VerifyClaim(rag)]
