"""The demo: it indexes a small corpus, searches it, asks questions, and compares the results with the expected ones."""

from __future__ import annotations

import shutil
import sys
import time
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from florence_rag.chunking import read_image
from florence_rag.cli.opening import opened
from florence_rag.cli.output import answer_line, place, plain, report_to_text
from florence_rag.cli.progress import shown_progress
from florence_rag.datasets.demo_corpus import DemoExample, copy_demo_corpus, demo_examples
from florence_rag.models.registry import CARDS, DEFAULT, TINY
from florence_rag.types import Answer
from florence_rag.viz.contact_sheet import Row, draw_sheet, hits_to_row

if TYPE_CHECKING:
    from florence_rag.rag import FlorenceRAG

HITS = 4
SEARCHES = tuple(example for example in demo_examples() if example.task == "search")
QUESTIONS = tuple(example for example in demo_examples() if example.task != "search")


def run_demo(folder: Path, screen: Console) -> dict[str, Any]:
    """Copy the corpus to a folder, index it, search it and ask it; return the results, ready for JSON."""
    started = time.perf_counter()
    corpus, sheet = folder / "corpus", folder / "contact-sheet.png"
    screen.print(f"[bold]Copying the demo corpus:[/] photos, videos, a poster and documents, to {corpus}")
    copy_demo_corpus(corpus)
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
            {"query": row.title, "expected": search.file, "hits": [cell.hit.to_dict() for cell in row.cells]}
            for search, row in zip(SEARCHES, rows, strict=True)
        ],
        "answers": [
            {"question": question.text, "expected": question.answer, **answer.to_dict()}
            for question, answer in zip(QUESTIONS, answers, strict=True)
        ],
        "sheet": str(sheet),
        "seconds": round(time.perf_counter() - started, 1),
    }


def _title(search: DemoExample) -> str:
    """Describe the query in words."""
    image = search.image and f"an image of {search.image.stem} on another day"
    return " and ".join(part for part in (image, search.text and f"“{search.text}”") if part)


def _search(rag: FlorenceRAG, corpus: Path, search: DemoExample, screen: Console) -> Row:
    image = read_image(search.image) if search.image else None
    hits = rag.search(search.text or None, image=image, k=HITS)
    best = hits[0]
    screen.print(_mark(Path(best.source) == (corpus / search.file).resolve()), plain(_title(search)))
    screen.print("   ", place(best.source, best.locator))
    screen.print("   ", plain(best.explanation, "dim"))
    return hits_to_row(_title(search), hits, rag.frames, image)


def _ask(rag: FlorenceRAG, corpus: Path, question: DemoExample, screen: Console) -> Answer:
    image = corpus / question.file if question.task == "ask_image" else None
    answer = rag.ask(question.text, image=image)
    about = f" ({question.file})" if image else ""
    screen.print(_mark(question.answer in answer.text), plain(question.text), plain(about, "dim"))
    screen.print("   ", answer_line(answer))
    for citation in answer.citations[:1]:
        screen.print("    from", place(citation.source, citation.locator))
    return answer


def _mark(is_right: bool) -> Text:
    """Return a check mark or a cross."""
    return Text("✓", "green") if is_right else Text("✗", "red")


def _say_goodbye(sheet: Path, screen: Console) -> None:
    installed = shutil.which("florence-rag") is not None
    called_by_path = Path(sys.argv[0]).name == "florence-rag"
    command = "florence-rag" if installed else relpath(sys.argv[0]) if called_by_path else "python -m florence_rag"
    screen.print(f"\n[bold]The hits as an image:[/] {sheet}")
    screen.print("\n[bold]Now your own folder:[/]")
    screen.print(f"  {command} index ~/Pictures --db photos.db", highlight=False)
    screen.print(f'  {command} search "words on a sign" --db photos.db', highlight=False)
    screen.print(f"  {command} search --image one-of-them.jpg --db photos.db", highlight=False)
    screen.print(f"\n{TINY} knows {CARDS[TINY].training_data}.", style="yellow")
    pair = f"{DEFAULT}, and {CARDS[DEFAULT].default_captioner} for captions"
    screen.print(f"The first command fetches such models: {pair}; to do without, add: --model {TINY}", style="yellow")
