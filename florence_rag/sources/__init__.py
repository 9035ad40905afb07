"""Stage 1: where media come from."""

from florence_rag.sources.files import MEDIA_BY_SUFFIX, discover, place_of

__all__ = ["MEDIA_BY_SUFFIX", "discover", "place_of"]
