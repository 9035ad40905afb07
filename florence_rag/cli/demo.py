"""The demo: it indexes a small corpus, searches it, asks questions, and compares the results with the expected ones."""

from __future__ import annotations

import shutil
import sys
import time
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from florence_rag.cli.command import Command
from florence_rag.cli.options import absolute_path, check_output_folder
from florence_rag.cli.output import answer_line, plain, report_to_text, source_to_text, stderr, stdout
from florence_rag.cli.progress import show_progress
from florence_rag.datasets.demo_corpus import DemoExample, copy_demo_corpus, demo_examples
from florence_rag.models.registry import CARDS, DEFAULT, TINY

if TYPE_CHECKING:
    from florence_rag.rag import FlorenceRAG
    from florence_rag.types import Answer
    from florence_rag.viz.contact_sheet import Row

HITS = 4
SEARCHES = tuple(example for example in demo_examples() if example.task == "search")
QUESTIONS = tuple(example for example in demo_examples() if example.task != "search")


class Demo(Command):
    """Index, search and ask a small synthetic corpus, and print what to try next."""

    folder: Annotated[
        Path,
        typer.Argument(
            parser=absolute_path,
            callback=check_output_folder,
            metavar="[FOLDER]",
            help="Where to write the files and the index.",
        ),
    ] = Path("florence-demo")

    def run(self) -> None:
        self.print(run_demo(self.folder.absolute(), stderr() if self.as_json else stdout()), "")


def run_demo(folder: Path, console: Console) -> dict[str, Any]:
    """Copy the corpus to a folder, index it, search it and ask it; return the results, ready for JSON."""
    from florence_rag.rag import FlorenceRAG
    from florence_rag.viz.contact_sheet import draw_sheet

    started = time.perf_counter()
    corpus, sheet = folder / "corpus", folder / "contact-sheet.png"
    console.print(f"[bold]Copying the demo corpus:[/] photos, videos, a poster and documents, to {corpus}")
    copy_demo_corpus(corpus)
    with stderr().status("Loading the models"):
        rag = FlorenceRAG.open(folder / "demo.db", TINY)
    with rag:
        console.print("\n[bold]Indexing it[/]")
        with show_progress() as progress:
            report = rag.add(corpus, progress=progress)
        console.print(report_to_text(report))
        console.print("\n[bold]Searching[/]")
        rows = [_search(rag, corpus, search, console) for search in SEARCHES]
        draw_sheet(rows).save(sheet)
        console.print("\n[bold]Asking[/]")
        answers = [_ask(rag, corpus, question, console) for question in QUESTIONS]
    _print_next_steps(sheet, console)
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
        "contact_sheet": str(sheet),
        "seconds": round(time.perf_counter() - started, 1),
    }


def _search(rag: FlorenceRAG, corpus: Path, search: DemoExample, console: Console) -> Row:
    from florence_rag.chunking import read_image
    from florence_rag.viz.contact_sheet import hits_to_row

    image = read_image(search.image) if search.image else None
    described_image = search.image and f"an image of {search.image.stem} on another day"
    title = " and ".join(part for part in (described_image, search.text and f"“{search.text}”") if part)
    hits = rag.search(search.text or None, image=image, k=HITS)
    best = hits[0]
    console.print(_mark(Path(best.source) == (corpus / search.file).resolve()), plain(title))
    console.print("   ", source_to_text(best.source, best.locator))
    console.print("   ", plain(best.explanation, "dim"))
    return hits_to_row(title, hits, rag.frames, image)


def _ask(rag: FlorenceRAG, corpus: Path, question: DemoExample, console: Console) -> Answer:
    image = corpus / question.file if question.task == "ask_image" else None
    answer = rag.ask(question.text, image=image)
    about = f" ({question.file})" if image else ""
    console.print(_mark(question.answer in answer.answer), plain(question.text), plain(about, "dim"))
    console.print("   ", answer_line(answer))
    for citation in answer.citations[:1]:
        console.print("    from", source_to_text(citation.source, citation.locator))
    return answer


def _mark(is_right: bool) -> Text:
    """Return a check mark or a cross."""
    return Text("✓", "green") if is_right else Text("✗", "red")


def _print_next_steps(sheet: Path, console: Console) -> None:
    installed = shutil.which("florence-rag") is not None
    called_by_path = Path(sys.argv[0]).name == "florence-rag"
    command = "florence-rag" if installed else relpath(sys.argv[0]) if called_by_path else "python -m florence_rag"
    console.print(f"\n[bold]The hits as an image:[/] {sheet}")
    console.print("\n[bold]Now your own folder:[/]")
    console.print(f"  {command} index ~/Pictures --db photos.db", highlight=False)
    console.print(f'  {command} search "the text on a sign" --db photos.db', highlight=False)
    console.print(f"  {command} search --image one-of-them.jpg --db photos.db", highlight=False)
    console.print(f"\n{TINY} was trained on {CARDS[TINY].training_data}.", style="yellow")
    pair = f"{DEFAULT}, and {CARDS[DEFAULT].default_captioner} for captions"
    console.print(f"The first command downloads {pair}. To use {TINY} instead:", style="yellow")
    console.print(f"  {command} index ~/Pictures --db photos.db --model {TINY}", highlight=False)
