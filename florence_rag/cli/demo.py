"""The demo: a drawn town is indexed, searched and asked, and what is found is held against what was drawn."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.text import Text

from florence_rag.cli.opening import opened
from florence_rag.cli.output import answer_line, place, plain, report_to_text
from florence_rag.cli.progress import shown_progress
from florence_rag.models.registry import CARDS, DEFAULT, TINY
from florence_rag.types import Answer, Frame
from florence_rag.viz.contact_sheet import Row, draw_sheet, hits_to_row
from recipes.florence_tiny.synthetic.demo_corpus import DemoExample, demo_examples, photo_scenes, write_demo_corpus
from recipes.florence_tiny.synthetic.drawing import draw_scene

if TYPE_CHECKING:
    from florence_rag.rag import FlorenceRAG

HITS = 4
ANOTHER_DAY = 8
"""A seed that gives the streets another weather: pictures to search with that are not in the corpus."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search, and the file that must come first. picture: a photo of the corpus, drawn anew on another day."""

    text: str | None
    picture: str | None
    expected: str

    def __str__(self) -> str:
        picture = self.picture and f"a picture of {Path(self.picture).stem} on another day"
        return " and ".join(part for part in (picture, self.text and f"“{self.text}”") if part)

    def frame(self) -> Frame | None:
        """The picture to search with."""
        return np.asarray(draw_scene(photo_scenes(ANOTHER_DAY)[self.picture])) if self.picture else None


SEARCHES = (
    *(Search(example.text, None, example.file) for example in demo_examples() if example.task == "search"),
    Search(None, "photos/street-14.jpg", "photos/street-14.jpg"),
    Search("a blue car", "photos/street-06.jpg", "photos/street-01.jpg"),
)
QUESTIONS = tuple(example for example in demo_examples() if example.task != "search")


def run_demo(folder: Path, screen: Console) -> dict[str, Any]:
    """Draw, index, search, ask and draw the contact sheet in a folder; what happened, JSON-ready."""
    started = time.perf_counter()
    corpus, sheet = folder / "corpus", folder / "contact-sheet.png"
    screen.print(f"[bold]Drawing a small town:[/] photos, films, a poster and papers, in {corpus}")
    write_demo_corpus(corpus)
    with opened(str(folder / "demo.db"), TINY) as rag:
        screen.print("\n[bold]Indexing it[/]")
        with shown_progress() as progress:
            report = rag.add(corpus, progress=progress)
        screen.print(report_to_text(report))
        screen.print("\n[bold]Searching[/]")
        rows = [_search(rag, corpus, search, screen) for search in SEARCHES]
        draw_sheet(rows).save(sheet)
        screen.print("\n[bold]Asking[/]")
        answers = [_ask(rag, corpus, question, screen) for question in QUESTIONS]
    _say_goodbye(sheet, screen)
    return {
        "index": report.to_dict(),
        "searches": [
            {"query": row.title, "expected": search.expected, "hits": [cell.hit.to_dict() for cell in row.cells]}
            for search, row in zip(SEARCHES, rows, strict=True)
        ],
        "answers": [
            {"question": question.text, "expected": question.answer, **answer.to_dict()}
            for question, answer in zip(QUESTIONS, answers, strict=True)
        ],
        "sheet": str(sheet),
        "seconds": round(time.perf_counter() - started, 1),
    }


def _search(rag: FlorenceRAG, corpus: Path, search: Search, screen: Console) -> Row:
    hits = rag.search(search.text, image=search.frame(), k=HITS)
    best = hits[0]
    screen.print(_mark(Path(best.source) == (corpus / search.expected).resolve()), plain(str(search)))
    screen.print("   ", place(best.source, best.locator))
    screen.print("   ", plain(best.explanation, "dim"))
    return hits_to_row(str(search), hits, rag.frames, search.frame())


def _ask(rag: FlorenceRAG, corpus: Path, question: DemoExample, screen: Console) -> Answer:
    picture = corpus / question.file if question.task == "look" else None
    answer = rag.ask(question.text, image=picture)
    about = f" ({question.file})" if picture else ""
    screen.print(_mark(question.answer in answer.text), plain(question.text), plain(about, "dim"))
    screen.print("   ", answer_line(answer))
    for citation in answer.citations[:1]:
        screen.print("    from", place(citation.source, citation.locator))
    return answer


def _mark(is_right: bool) -> Text:
    """Whether the drawn world agrees."""
    return Text("✓", "green") if is_right else Text("✗", "red")


def _say_goodbye(sheet: Path, screen: Console) -> None:
    installed = shutil.which("florence-rag") is not None
    called_by_path = Path(sys.argv[0]).name == "florence-rag"
    command = "florence-rag" if installed else relpath(sys.argv[0]) if called_by_path else "python -m florence_rag"
    screen.print(f"\n[bold]The hits as a picture:[/] {sheet}")
    screen.print("\n[bold]Now your own folder:[/]")
    screen.print(f"  {command} index ~/Pictures --db photos.db", highlight=False)
    screen.print(f'  {command} search "words on a sign" --db photos.db', highlight=False)
    screen.print(f"  {command} search --image one-of-them.jpg --db photos.db", highlight=False)
    screen.print(f"\n{TINY} knows {CARDS[TINY].training_data}.", style="yellow")
    pair = f"{DEFAULT}, and {CARDS[DEFAULT].default_captioner} for captions"
    screen.print(f"The first command fetches such models: {pair}; to do without, add: --model {TINY}", style="yellow")
