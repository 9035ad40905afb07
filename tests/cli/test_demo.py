from io import StringIO
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from florence_rag.cli.demo import QUESTIONS, SEARCHES, run_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[dict, str]:
    """Run the demo with the shipped model, and return its record and its output."""
    screen = Console(file=StringIO(), soft_wrap=True)
    record = run_demo(tmp_path_factory.mktemp("demo"), screen)
    return record, screen.file.getvalue()


def test_all_files_of_the_demo_are_indexed(demo):
    index = demo[0]["index"]
    assert (index["added"], index["failed"]) == (30, ())


def test_searches_find_the_expected_files(demo):
    rows = demo[0]["searches"]
    assert len(rows) == len(SEARCHES)
    found = [row["hits"][0]["source"].endswith(row["expected"]) for row in rows]
    assert found[0], "the car next to the hydrant"
    assert sum(found) >= 0.9 * len(found)


def test_the_car_next_to_the_hydrant_is_blue(demo):
    (row,) = [row for row in demo[0]["answers"] if row["question"].startswith("What color is the car parked next")]
    assert row["answer"] == "blue"
    assert row["confidence"] > 0.5
    assert row["citations"][0]["source"].endswith("street-01.jpg")


def test_questions_have_the_expected_answers(demo):
    right = [row["expected"] in row["answer"] for row in demo[0]["answers"]]
    assert len(right) == len(QUESTIONS)
    # Asking everything that is indexed is harder than asking one image: it must be found, too.
    assert sum(right) >= 0.9 * len(right)


def test_the_contact_sheet_has_a_row_for_every_search(demo):
    with Image.open(demo[0]["contact_sheet"]) as sheet:
        assert sheet.height > 250 * len(SEARCHES)


def test_the_demo_ends_with_next_steps_and_the_training_data(demo):
    words = demo[1]
    assert "index ~/Pictures --db photos.db" in words
    assert "synthetic street scenes only" in words


@pytest.mark.slow
def test_a_second_run_indexes_nothing_again(demo):
    folder = Path(demo[0]["contact_sheet"]).parent
    again = run_demo(folder, Console(file=StringIO()))
    assert (again["index"]["added"], again["index"]["unchanged"]) == (0, 30)
