"""What was found, for eyes: thumbnails, contact sheets, heat maps, HTML for notebooks, Markdown."""

from florence_rag.show.gallery import Gallery, show
from florence_rag.show.heat import heat_map
from florence_rag.show.links import link_to
from florence_rag.show.thumbnails import thumbnail_of

__all__ = ["Gallery", "heat_map", "link_to", "show", "thumbnail_of"]
