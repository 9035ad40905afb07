"""What an agent may call, defined once and bound to no framework; the plug-ins wrap these objects."""

from florence_rag.tools.ask_image import AskImage
from florence_rag.tools.base import Tool, ToolResult
from florence_rag.tools.search_images import SearchImages
from florence_rag.tools.wording import hit_to_metadata, hit_to_text

__all__ = ["AskImage", "SearchImages", "Tool", "ToolResult", "hit_to_metadata", "hit_to_text"]
