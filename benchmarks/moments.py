"""Measures how well what happens is found in drawn films: recall of moments that overlap the true ones by half or more.

python benchmarks/moments.py [--films 12] [--json FILE]
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from florence_rag import FlorenceRAG
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.models.registry import TINY
from florence_rag.retrieval.moments import IMAGE_SHARE, overlap
from recipes.florence_tiny.synthetic.clips import write_mp4
from recipes.florence_tiny.synthetic.scene import sample_scene
from recipes.florence_tiny.synthetic.video_scenes import IDLE, ActionSegment, VideoScene, sample_video_scene

FPS = 12
TAKES, LEGS = 3, 6
IOU = 0.5
LOOKS_AS_MUCH = 1 / IMAGE_SHARE
"""Undoes that the look of a moment counts for less than its words."""
PARTS: dict[str, dict[str, Any]] = {
    "looks as much": {"image_weight": LOOKS_AS_MUCH},
    "words alone": {"image_weight": 0.0},
    "looks alone": {"bm25_weight": 0.0, "phrase_weight": 0.0},
}
"""Other ways to weigh a search."""


@dataclass(frozen=True)
class Event:
    """What happens in a film from when to when."""

    film: str
    span: tuple[float, float]
    leg: ActionSegment


def make_films(folder: Path, count: int) -> tuple[list[Event], float]:
    """Films of several takes, what happens in them, and how long they are together, in seconds."""
    rng = random.Random("moments benchmark")
    events, total_s = [], 0.0
    for number in range(count):
        path = folder / f"film-{number:02}.mp4"
        takes = [sample_video_scene(rng, LEGS, scene=sample_scene(rng)) for _ in range(TAKES)]
        write_mp4(path, (frame for take in takes for frame in take.draw(_times(take), (480, 360))), FPS, (480, 360))
        start_s = 0.0
        for take in takes:
            spans = [(start_s + start, start_s + end) for start, end in take.spans()]
            events += [Event(str(path), span, leg) for span, leg in zip(spans, take.segments, strict=True)]
            start_s += take.seconds
        total_s += start_s
    return [event for event in events if event.leg.action != IDLE], total_s


def _times(take: VideoScene) -> list[float]:
    return [i / FPS for i in range(round(take.seconds * FPS))]


def queries(events: Sequence[Event]) -> dict[str, list[Event]]:
    """What a person would ask for, with all events that it fits: with the colour, and without."""
    asked: dict[str, list[Event]] = {}
    for event in events:
        for words in wordings(event.leg):
            asked.setdefault(words, []).append(event)
    # What happens all the time is not asked for.
    return {words: fitting for words, fitting in asked.items() if len(fitting) <= 2}


def wordings(leg: ActionSegment) -> tuple[str, str]:
    """ "the purple bus leaves to the right" and "when does the bus leave to the right?"."""
    assert leg.actor is not None
    color, thing = leg.actor
    verb = {"person": "walks", "dog": "runs", "bicycle": "rides"}.get(thing, "drives")
    action = leg.action.replace("drives", verb)
    first, _, rest = action.partition(" ")
    infinitive = {"crosses": "cross"}.get(first, first[:-1])
    colored = f"person in {color}" if thing == "person" else f"{color} {thing}"
    return f"the {colored} {action}", f"when does the {thing} {infinitive} {rest}".strip() + "?"


def measure(rag: FlorenceRAG, asked: dict[str, list[Event]]) -> dict[str, float]:
    """Recall at 1 and 5, of queries with a colour and of those without, and milliseconds a query."""
    right: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    start = time.perf_counter()
    for words, fitting in asked.items():
        hits = rag.find_moments(words, 5)
        group = "without colour" if words.endswith("?") else "with colour"
        counts[group] += 1
        for k in (1, 5):
            right[f"R@{k} {group}"] += any(_is_right(hit, event) for hit in hits[:k] for event in fitting)
    spent_ms = 1000 * (time.perf_counter() - start) / len(asked)
    return {**{name: right[name] / counts[name[4:]] for name in sorted(right)}, "ms a query": spent_ms}


def _is_right(hit: object, event: Event) -> bool:
    locator = hit.locator  # type: ignore[attr-defined]
    return hit.source == event.film and overlap((locator.start_s, locator.end_s), event.span) >= IOU  # type: ignore[attr-defined]


def main(
    films: Annotated[int, typer.Option(help="How many to draw and index.")] = 12,
    actions: Annotated[str, typer.Option(help="Name of a model, or a folder with video/.")] = TINY,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure and print."""
    quiet_libraries()
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "films").mkdir()
        events, seconds = make_films(home / "films", films)
        asked = queries(events)
        for name, model in (("clips alone", None), ("with actions", actions)):
            with FlorenceRAG.open(str(home / f"{name}.db"), TINY, action_model=model, ocr="never") as rag:
                start = time.perf_counter()
                rag.add(home / "films")
                indexing = {"s of indexing for 1 s of film": (time.perf_counter() - start) / seconds}
                figures[name] = measure(rag, asked) | indexing
                if model:
                    whole = rag.retriever.config
                    for part, weights in PARTS.items():
                        rag.retriever.config = replace(whole, **weights)
                        figures[f"with actions, {part}"] = measure(rag, asked)
    show(figures, f"{films} films of {seconds:.0f} s, {len(events)} actions, {len(asked)} queries; overlap >= {IOU}")
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def show(figures: dict[str, dict[str, float]], title: str) -> None:
    """A column for each way to search."""
    drawn = Table("", *figures, title=title)
    for name in figures["with actions"]:
        drawn.add_row(name, *(f"{column[name]:.3f}" if name in column else "" for column in figures.values()))
    Console().print(drawn)


if __name__ == "__main__":
    typer.run(main)
