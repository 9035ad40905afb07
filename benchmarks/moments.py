"""Recall of moments in synthetic videos, where a hit must overlap the true moment with an IoU of at least 0.5.

python benchmarks/moments.py [--videos 12] [--json FILE]
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
from florence_rag.retrieval.grouping import overlap
from florence_rag.retrieval.retriever import MOMENT_IMAGE_WEIGHT
from recipes.florence_tiny.synthetic.clips import write_mp4
from recipes.florence_tiny.synthetic.scene import sample_scene
from recipes.florence_tiny.synthetic.video_scenes import IDLE, ActionSegment, VideoScene, sample_video_scene

FPS = 12
SCENES, SEGMENTS = 3, 6
IOU = 0.5
EQUAL_IMAGE_WEIGHT = 1 / MOMENT_IMAGE_WEIGHT
"""Undo the lower weight of the image vectors of moments."""
PARTS: dict[str, dict[str, Any]] = {
    "equal image weight": {"image_weight": EQUAL_IMAGE_WEIGHT},
    "text alone": {"image_weight": 0.0},
    "image vectors alone": {"bm25_weight": 0.0, "phrase_weight": 0.0},
}
"""Other weights of the branches."""


@dataclass(frozen=True)
class Event:
    """An action in a video, with its start and end in seconds."""

    video: str
    span: tuple[float, float]
    segment: ActionSegment


def write_videos(folder: Path, count: int) -> tuple[list[Event], float]:
    """Write videos of several scenes; return their actions and their total length in seconds."""
    rng = random.Random("moments benchmark")
    events, total_s = [], 0.0
    for number in range(count):
        path = folder / f"video-{number:02}.mp4"
        video_scenes = [sample_video_scene(rng, SEGMENTS, scene=sample_scene(rng)) for _ in range(SCENES)]
        write_mp4(
            path,
            (frame for video_scene in video_scenes for frame in video_scene.draw(_times(video_scene), (480, 360))),
            FPS,
            (480, 360),
        )
        start_s = 0.0
        for video_scene in video_scenes:
            spans = [(start_s + start, start_s + end) for start, end in video_scene.spans()]
            events += [
                Event(str(path), span, segment) for span, segment in zip(spans, video_scene.segments, strict=True)
            ]
            start_s += video_scene.seconds
        total_s += start_s
    return [event for event in events if event.segment.action != IDLE], total_s


def _times(video_scene: VideoScene) -> list[float]:
    return [i / FPS for i in range(round(video_scene.seconds * FPS))]


def queries(events: Sequence[Event]) -> dict[str, list[Event]]:
    """Return queries, with and without the color of the actor, and the events that match them."""
    asked: dict[str, list[Event]] = {}
    for event in events:
        for words in wordings(event.segment):
            asked.setdefault(words, []).append(event)
    # Skip queries that match many events.
    return {words: fitting for words, fitting in asked.items() if len(fitting) <= 2}


def wordings(segment: ActionSegment) -> tuple[str, str]:
    """Return queries such as "the purple bus leaves to the right" and "when does the bus leave to the right?"."""
    assert segment.actor is not None
    color, thing = segment.actor
    verb = {"person": "walks", "dog": "runs", "bicycle": "rides"}.get(thing, "drives")
    action = segment.action.replace("drives", verb)
    first, _, rest = action.partition(" ")
    infinitive = {"crosses": "cross"}.get(first, first[:-1])
    colored = f"person in {color}" if thing == "person" else f"{color} {thing}"
    return f"the {colored} {action}", f"when does the {thing} {infinitive} {rest}".strip() + "?"


def measure(rag: FlorenceRAG, asked: dict[str, list[Event]]) -> dict[str, float]:
    """Return the recall at 1 and 5 of queries with and without a color, and milliseconds per query."""
    right: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    start = time.perf_counter()
    for words, fitting in asked.items():
        hits = rag.find_moments(words, 5)
        group = "without color" if words.endswith("?") else "with color"
        counts[group] += 1
        for k in (1, 5):
            right[f"R@{k} {group}"] += any(_is_right(hit, event) for hit in hits[:k] for event in fitting)
    elapsed_ms = 1000 * (time.perf_counter() - start) / len(asked)
    return {**{name: right[name] / counts[name[4:]] for name in sorted(right)}, "ms per query": elapsed_ms}


def _is_right(hit: object, event: Event) -> bool:
    locator = hit.locator  # type: ignore[attr-defined]
    return hit.source == event.video and overlap((locator.start_s, locator.end_s), event.span) >= IOU  # type: ignore[attr-defined]


def main(
    videos: Annotated[int, typer.Option(help="The number of videos.")] = 12,
    actions: Annotated[str, typer.Option(help="Name of a model, or a folder with video/.")] = TINY,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure, and print a table."""
    quiet_libraries()
    metrics: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "videos").mkdir()
        events, seconds = write_videos(home / "videos", videos)
        asked = queries(events)
        for name, model in (("clips alone", None), ("with actions", actions)):
            with FlorenceRAG.open(str(home / f"{name}.db"), TINY, action_model=model, ocr="never") as rag:
                start = time.perf_counter()
                rag.add(home / "videos")
                indexing = {"s of indexing for 1 s of video": (time.perf_counter() - start) / seconds}
                metrics[name] = measure(rag, asked) | indexing
                if model:
                    whole = rag.retriever.config
                    for part, weights in PARTS.items():
                        rag.retriever.config = replace(whole, **weights)
                        metrics[f"with actions, {part}"] = measure(rag, asked)
    show(metrics, f"{videos} videos of {seconds:.0f} s, {len(events)} actions, {len(asked)} queries; overlap >= {IOU}")
    if json_file is not None:
        json_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def show(metrics: dict[str, dict[str, float]], title: str) -> None:
    """Print a table with a column for each setting."""
    table = Table("", *metrics, title=title)
    for name in metrics["with actions"]:
        table.add_row(name, *(f"{column[name]:.3f}" if name in column else "" for column in metrics.values()))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
