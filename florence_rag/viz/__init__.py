"""Shows results: thumbnails, contact sheets, heat maps, HTML for notebooks, and Markdown."""

from florence_rag.viz.drawing import heat_map
from florence_rag.viz.gallery import Gallery, link_to, show
from florence_rag.viz.thumbnails import thumbnail_of

__all__ = ["Gallery", "heat_map", "link_to", "show", "thumbnail_of"]
