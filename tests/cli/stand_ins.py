"""Color doubles in the place of all models, for commands that open real databases."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from florence_rag.embedding.base import Embedder
from florence_rag.loading import database
from florence_rag.loading.loaders import EMBEDDER, OCR_READER, VQA
from florence_rag.models import registry
from florence_rag.models.registry import CARDS, DEFAULT
from florence_rag.testing import ColorEmbedder, ColorVQA, ScriptedReader
from tests.loading.stand_ins import stand_in


def use_color_models(patch: pytest.MonkeyPatch, embedder: Callable[[], Embedder] = ColorEmbedder) -> None:
    """Let every database open with an embedder of colors, a VQA model of colors, and an OCR reader without text."""
    cards = {name: replace(CARDS["florence-tiny"], name=name) for name in (DEFAULT, ColorEmbedder.info.name)}
    for module in (registry, database):
        patch.setattr(module, "CARDS", {**CARDS, **cards})
    stand_in(patch, EMBEDDER, lambda card, loader: embedder())
    stand_in(patch, VQA, lambda card, loader: ColorVQA())
    stand_in(patch, OCR_READER, lambda card, loader: ScriptedReader({}))
