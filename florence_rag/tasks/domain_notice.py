"""Tells once that results for photographs are unreliable, if the model of an index knows only synthetic scenes."""

from collections.abc import Sequence

from florence_rag.chunking.images import UNNAMED_IMAGE
from florence_rag.context import Models
from florence_rag.datasets.demo_corpus import is_demo_file
from florence_rag.models.registry import DEFAULT, TINY
from florence_rag.telemetry import get_logger
from florence_rag.types import Hit

log = get_logger(__name__)


class DomainNotice:
    """Receives the hits of an index, and logs one warning for the first that florence-tiny was not trained for.

    The only synthetic scenes that people have are those of the demo corpus, which are recognized by their folder and
    name. Every other file that has pixels counts as a photograph: a wrong notice about a drawing costs one line. Images
    without a file, such as bytes, tell nothing about their origin.

    Args:
        models: The models of the index.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self._told = False

    def __call__(self, hits: Sequence[Hit]) -> None:
        """Log the warning if it is due."""
        if self._told or self._models.embedder.info.name != TINY:
            return
        files = (hit.source for hit in hits if hit.kind != "text" and hit.source != UNNAMED_IMAGE)
        real = next((file for file in files if not is_demo_file(file)), None)
        if real is None:
            return
        self._told = True
        log.warning(
            "%s knows only synthetic street scenes: results for files such as %r are unreliable; use another model, "
            "for a database that exists with: florence-rag reembed --to %s",
            TINY,
            real,
            DEFAULT,
        )
