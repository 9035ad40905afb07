"""Indexing in two passes: how soon images are found by visual similarity, and the time in all: make bench-all.

    python benchmarks/words.py [FOLDER]

The script indexes a folder, by default synthetic scenes of which one in four has a sign with text, with florence-tiny:
without words, in one pass with OCR, and in two. The runs take turns, after one that loads the models.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from ocr import save_scenes

from florence_rag import FlorenceRAG, Progress
from florence_rag.ingest.words_pass import WordsMode
from florence_rag.models.registry import TINY

RUNS: dict[str, WordsMode] = {"embedder alone": "now", "one pass": "now", "two passes": "later"}
SEARCHABLE = "two passes, until all is searchable"


def run(name: str, folder: Path, db: Path) -> Counter[str]:
    """Return the seconds of indexing a folder; of two passes, also those of the first one."""
    first: list[float] = []

    def progress(step: Progress) -> None:
        if step.task == "words" and not first:
            first.append(time.perf_counter() - started)

    with FlorenceRAG.open(db, TINY, ocr="never" if name == "embedder alone" else "auto") as rag:
        started = time.perf_counter()
        report = rag.add(folder, words=RUNS[name], progress=progress)
        spent = Counter({name: time.perf_counter() - started})
    assert report.added and not report.words_pending, report
    return spent + Counter({SEARCHABLE: seconds for seconds in first})


def main(
    folder: Annotated[Path | None, typer.Argument(help="A folder with more than eight images.")] = None,
    images: Annotated[int, typer.Option(min=16)] = 96,
    turns: Annotated[int, typer.Option(min=1)] = 2,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the metrics here.")] = None,
) -> None:
    """Measure all runs in turn, and print their seconds and ratios."""
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        if folder is None:
            folder = Path(scratch) / "streets"
            folder.mkdir()
            save_scenes(folder, images)
        for turn in range(turns + 1):
            for name in RUNS:
                seconds = run(name, folder, Path(scratch) / f"{turn}-{name}.db")
                spent.update(seconds if turn else {})
    for name, seconds in spent.items():
        print(f"{name:36}{seconds / turns:8.2f} s")
    ratios = {
        "searchable / embedder alone": spent[SEARCHABLE] / spent["embedder alone"],
        "two passes / one pass": spent["two passes"] / spent["one pass"],
    }
    for name, ratio in ratios.items():
        print(f"{name:36}{ratio:8.2f}")
    if output:
        output.write_text(json.dumps({"seconds": spent, "ratios": ratios}))


if __name__ == "__main__":
    typer.run(main)
