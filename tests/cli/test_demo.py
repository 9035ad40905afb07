from io import StringIO
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from florence_rag.cli.demo import QUESTIONS, SEARCHES, run_demo


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> tuple[dict, str]:
    """The demo with the shipped model: its record, and what it wrote."""
    screen = Console(file=StringIO(), soft_wrap=True)
    record = run_demo(tmp_path_factory.mktemp("demo"), screen)
    return record, screen.file.getvalue()


def test_everything_that_was_drawn_is_indexed(told):
    index = told[0]["index"]
    assert (index["added"], index["failed"]) == (30, ())


def test_searches_find_what_was_drawn(told):
    rows = told[0]["searches"]
    assert len(rows) == len(SEARCHES)
    found = [row["hits"][0]["source"].endswith(row["expected"]) for row in rows]
    assert found[0], "the car next to the hydrant"
    assert sum(found) >= 0.9 * len(found)


def test_the_car_next_to_the_hydrant_is_blue(told):
    (row,) = [row for row in told[0]["answers"] if row["question"].startswith("What colour is the car parked next")]
    assert row["answer"] == "blue"
    assert row["confidence"] > 0.5
    assert row["citations"][0]["source"].endswith("street-01.jpg")


def test_questions_are_answered_as_it_was_drawn(told):
    right = [row["expected"] in row["answer"] for row in told[0]["answers"]]
    assert len(right) == len(QUESTIONS)
    # Asking everything that is indexed is harder than asking one picture: it must be found, too.
    assert sum(right) >= 0.9 * len(right)


def test_the_contact_sheet_has_a_row_for_every_search(told):
    with Image.open(told[0]["contact_sheet"]) as sheet:
        assert sheet.height > 250 * len(SEARCHES)


def test_it_ends_with_what_to_try_next_and_what_the_model_knows(told):
    words = told[1]
    assert "index ~/Pictures --db photos.db" in words
    assert "only the synthetic street scenes" in words


def test_a_second_run_indexes_nothing_anew(told):
    folder = Path(told[0]["contact_sheet"]).parent
    again = run_demo(folder, Console(file=StringIO()))
    assert (again["index"]["added"], again["index"]["unchanged"]) == (0, 30)
