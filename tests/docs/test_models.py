"""The page of models says what the cards say."""

import re
from pathlib import Path

from florence_rag.cli.models import cards_to_markdown
from florence_rag.models.registry import CARDS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_is_that_of_the_cards():
    assert cards_to_markdown(CARDS.values()) in (DOCS / "models.md").read_text("utf-8"), (
        "write it again with: florence-rag models --markdown"
    )


def test_models_that_are_recommended_exist():
    page = (DOCS / "choosing.md").read_text("utf-8")
    named = set(re.findall(r"(?:--(?:model|captioner|vqa|reranker|text-embedder) )([a-z][\w.-]+)(?![\w.:-])", page)) - {
        "never"
    }
    assert len(named) >= 4
    assert not named - set(CARDS)
