"""Indexing in two passes: how soon images are found by visual similarity, and the time in all: make bench-all.

    python benchmarks/words.py [FOLDER]

The script indexes a folder, by default synthetic scenes of which one in four has a sign with text, with florence-tiny:
without words, in one pass with OCR, and in two. The runs take turns, after one that loads the models. The processor
seconds are those of this process, without the workers that decode.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from ocr import save_scenes

from florence_rag import FlorenceRAG, Progress
from florence_rag.ingest.words_pass import WordsMode
from florence_rag.models.registry import TINY

RUNS: dict[str, WordsMode] = {"embedder alone": "now", "one pass": "now", "two passes": "later"}
SEARCHABLE = "two passes, until all is searchable"


def run(name: str, folder: Path, db: Path) -> dict[str, np.ndarray]:
    """Return the seconds and the processor seconds of indexing a folder; of two passes, also those of the first one."""
    first: list[np.ndarray] = []

    def spent() -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()])

    def progress(step: Progress) -> None:
        if step.task == "words" and not first:
            first.append(spent() - started)

    with FlorenceRAG.open(db, TINY, ocr="never" if name == "embedder alone" else "auto") as rag:
        started = spent()
        report = rag.add(folder, words=RUNS[name], progress=progress)
        total = spent() - started
    assert report.added and not report.words_pending, report
    return {name: total} | dict(zip([SEARCHABLE], first, strict=False))


def main(
    folder: Annotated[Path | None, typer.Argument(help="A folder with more than eight images.")] = None,
    images: Annotated[int, typer.Option(min=16)] = 96,
    turns: Annotated[int, typer.Option(min=1)] = 2,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the metrics here.")] = None,
) -> None:
    """Measure all runs in turn, and print the seconds of each and their ratios."""
    rows: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as scratch:
        if folder is None:
            folder = Path(scratch) / "streets"
            folder.mkdir()
            save_scenes(folder, images)
        for turn in range(turns + 1):
            for name in RUNS:
                for key, seconds in run(name, folder, Path(scratch) / f"{turn}-{name}.db").items():
                    rows[key] = rows.get(key, np.zeros(2)) + (seconds / turns if turn else 0)
    rows["searchable / embedder alone"] = rows[SEARCHABLE] / rows["embedder alone"]
    rows["two passes / one pass"] = rows["two passes"] / rows["one pass"]
    print(f"{'':36}{'seconds':>10}{'CPU s':>10}")
    for name, (seconds, cpu_seconds) in rows.items():
        print(f"{name:36}{seconds:10.2f}{cpu_seconds:10.2f}")
    if output:
        output.write_text(json.dumps({name: row.tolist() for name, row in rows.items()}))


if __name__ == "__main__":
    typer.run(main)
