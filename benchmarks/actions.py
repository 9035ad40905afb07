"""Measures what florence-tiny recognises in drawn clips that it never saw, and how much of it motion tells.

python benchmarks/actions.py [--action-model NAME_OR_FOLDER] [--clips 550] [--single FOLDER] [--json FILE]
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.embedding.florence import FlorenceEmbedder
from florence_rag.models.registry import TINY, find_model
from florence_rag.perception.actions import VideoCoSwinRecognizer
from florence_rag.types import Frame, middle_frame
from recipes.florence_tiny.synthetic.scene import HELD_OUT, sample_scene
from recipes.florence_tiny.synthetic.video_scenes import ACTIONS, VideoScene, sample_action_segment
from recipes.florence_tiny.train_actions import clip_times

SIZE = (480, 360)
Clip = tuple[str, tuple[str, str] | None, Callable[[], list[Frame]]]
"""What happens, who does it, and what draws the pictures: all of them at once would fill the memory."""


def draw_clips(count: int, name: str, *, held_out: bool = True) -> list[Clip]:
    """Clips of one action each, from its start to its end, all actions equally often.

    held_out: also of combinations of colour and object that training never showed.
    """
    rng = random.Random(f"actions benchmark {name}")
    clips: list[Clip] = []
    for index in range(count):
        action = ACTIONS[index % len(ACTIONS)]
        take, leg = sample_action_segment(rng, action, scene=sample_scene(rng, "any"), held_out=held_out)
        clips.append((action, take.segments[leg].actor, partial(_drawn, take, leg)))
    return clips


def _drawn(take: VideoScene, leg: int) -> list[Frame]:
    return [np.asarray(picture) for picture in take.draw(clip_times(*take.spans()[leg]), SIZE)]


def top1(recognizer: VideoCoSwinRecognizer, clips: Sequence[Clip], view: Callable[[list[Frame]], list[Frame]]) -> float:
    """Share of the clips that are named rightly, seen in some way."""
    return float(np.mean([recognizer.classify(view(draw()))[0][0] == action for action, _, draw in clips]))


def probe(embedder: FlorenceEmbedder, train: Sequence[Clip], test: Sequence[Clip], frames: slice) -> float:
    """Top-1 of logistic regression over the mean vector of some frames, in whatever order."""

    def features(clips: Sequence[Clip]) -> np.ndarray:
        return np.stack([embedder.embed_images(draw()[frames]).mean(axis=0) for _, _, draw in clips])

    model = LogisticRegression(max_iter=2000, C=100.0).fit(features(train), [action for action, _, _ in train])
    return float(model.score(features(test), [action for action, _, _ in test]))


def shuffled(frames: list[Frame]) -> list[Frame]:
    """The same frames in an order that tells nothing."""
    return random.Random(0).sample(frames, len(frames))


def figures_of(recognizer: VideoCoSwinRecognizer, embedder: FlorenceEmbedder, count: int) -> dict[str, float]:
    """All figures; `count` clips are measured on, and as many others are what the probes learn from."""
    test = draw_clips(count, "test")
    unseen = [clip for clip in test if clip[1] in HELD_OUT]
    train = draw_clips(count, "probe", held_out=False)
    whole = top1(recognizer, test, list)
    shown = [draw() for _, _, draw in test[:50]]
    start = time.perf_counter()
    for frames in shown:
        recognizer.classify(frames)
    spent_ms = 1000 * (time.perf_counter() - start) / len(shown)
    return {
        "top-1, all frames in order": whole,
        f"of these, {len(unseen)} clips of movers never seen in training": top1(recognizer, unseen, list),
        "top-1, frames shuffled": top1(recognizer, test, shuffled),
        "top-1, middle frame only": top1(recognizer, test, lambda frames: [middle_frame(frames)]),
        "probe on the embedder's vector of the middle frame": probe(embedder, train, test, slice(4, 5)),
        "probe on the mean vector of all frames": probe(embedder, train, test, slice(None)),
        "chance": 1 / len(ACTIONS),
        "ms a clip": spent_ms,
    }


def main(
    action_model: Annotated[str, typer.Option(help="Name of a model, or a folder with video/.")] = TINY,
    clips: Annotated[int, typer.Option(help="How many to measure on.")] = 550,
    single: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also one that was trained with --frames 1.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure and print."""
    quiet_libraries()
    card, tower = find_model(action_model, "action"), find_model(TINY)
    recognizer = VideoCoSwinRecognizer.from_pretrained(card.video, name=card.name)
    figures = figures_of(recognizer, FlorenceEmbedder.from_pretrained(tower.florence, tower.name), clips)
    if single is not None:
        still = VideoCoSwinRecognizer.from_pretrained(single, name=str(single))
        figures["the same network, trained on middle frames alone"] = top1(still, draw_clips(clips, "test"), list)
    drawn = Table("", f"{clips} held-out clips")
    for name, value in figures.items():
        drawn.add_row(name, f"{value:.1f}" if name.startswith("ms") else f"{value:.3f}")
    Console().print(drawn)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
