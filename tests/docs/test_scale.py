"""The page of sizes says what the model computes."""

import re
from pathlib import Path

from florence_rag.cli.estimate import estimate_to_markdown
from florence_rag.index.capacity_estimate import SIZES, Assumptions
from florence_rag.index.index_types import available_index_types
from florence_rag.index.lite.profile import LITE_ROWS

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text("utf-8")


def test_the_tables_are_those_of_the_model():
    assert estimate_to_markdown(SIZES, Assumptions()) in PAGE, "write them again with: florence-rag estimate --markdown"


def test_every_index_that_is_named_can_be_chosen():
    named = set(re.findall(r"--index-type ([a-z]\w+)", PAGE))
    assert len(named) >= 1
    assert {name.upper() for name in named} <= set(available_index_types())


def test_the_size_that_lite_bears_is_that_of_info():
    assert f"Up to {LITE_ROWS:,} chunks: a folder" in PAGE
