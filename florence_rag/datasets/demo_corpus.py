"""The corpus of `florence-rag demo`: photos, videos and documents of an imaginary town, with searches and questions."""

import json
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Literal

ASSETS = Path(__file__).parents[1] / "assets" / "demo"


@dataclass(frozen=True, slots=True)
class DemoExample:
    """A search or question to try on the demo corpus, with the expected result.

    "search" must find `file`, which is relative to the corpus, first; "ask" must answer from it, and "ask_image" about
    it. `image` is an image outside the corpus to search with, and `answer` the expected answer or a part of it.
    """

    task: Literal["search", "ask", "ask_image"]
    text: str
    image: Path | None
    file: str
    answer: str


def copy_demo_corpus(folder: str | Path) -> None:
    """Copy the folders photos, videos and documents, one megabyte, into a folder; existing files are replaced."""
    shutil.copytree(ASSETS / "corpus", folder, copy_function=shutil.copyfile, dirs_exist_ok=True)


def is_demo_file(source: str) -> bool:
    """Return whether a source has the folder and name of a file of the demo corpus, or of an image to search with."""
    return PurePath(source).parts[-2:] in _demo_files()


@cache
def _demo_files() -> frozenset[tuple[str, ...]]:
    return frozenset(path.parts[-2:] for path in ASSETS.rglob("*.*"))


def demo_examples() -> tuple[DemoExample, ...]:
    """Return the searches and questions that the demo tries."""
    records = json.loads((ASSETS / "examples.json").read_text("utf-8"))
    images = (ASSETS / record["image"] if record["image"] else None for record in records)
    return tuple(DemoExample(**{**record, "image": image}) for record, image in zip(records, images, strict=True))
