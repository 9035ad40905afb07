"""Agent tools, defined once and bound to no framework; both plug-ins wrap these objects."""

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
    place_to_text,
)
from florence_rag.tools.image_delivery import (
    Block,
    Budget,
    ImageMode,
    ImageRenderer,
    RenderedImage,
    check_image_mode,
    images_in,
)
from florence_rag.tools.read_text import ReadText
from florence_rag.tools.recommend import Recommend
from florence_rag.tools.registry import tools_for
from florence_rag.tools.safe_fetch import UrlRules
from florence_rag.tools.search_images import SearchImages
from florence_rag.tools.tag_image import TagImage

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
