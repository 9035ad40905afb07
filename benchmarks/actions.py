"""Measures what florence-tiny recognizes in held-out synthetic clips, and how much of it depends on motion.

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
"""The action, the actor, and a function that draws the frames: all frames at once would fill the memory."""


def draw_clips(count: int, name: str, *, held_out: bool = True) -> list[Clip]:
    """Sample clips of one whole action each, all actions equally often.

    `held_out` adds combinations of color and category that training never shows.
    """
    rng = random.Random(f"actions benchmark {name}")
    clips: list[Clip] = []
    for index in range(count):
        action = ACTIONS[index % len(ACTIONS)]
        video_scene, segment = sample_action_segment(rng, action, scene=sample_scene(rng, "any"), held_out=held_out)
        clips.append((action, video_scene.segments[segment].actor, partial(_draw, video_scene, segment)))
    return clips


def _draw(video_scene: VideoScene, segment: int) -> list[Frame]:
    return [np.asarray(image) for image in video_scene.draw(clip_times(*video_scene.spans()[segment]), SIZE)]


def top1(recognizer: VideoCoSwinRecognizer, clips: Sequence[Clip], view: Callable[[list[Frame]], list[Frame]]) -> float:
    """Return the top-1 accuracy over clips whose frames `view` selects or reorders."""
    return float(np.mean([recognizer.classify(view(draw()))[0][0] == action for action, _, draw in clips]))


def probe(embedder: FlorenceEmbedder, train: Sequence[Clip], test: Sequence[Clip], frames: slice) -> float:
    """Return the top-1 accuracy of logistic regression over the mean vector of some frames."""

    def features(clips: Sequence[Clip]) -> np.ndarray:
        return np.stack([embedder.embed_images(draw()[frames]).mean(axis=0) for _, _, draw in clips])

    model = LogisticRegression(max_iter=2000, C=100.0).fit(features(train), [action for action, _, _ in train])
    return float(model.score(features(test), [action for action, _, _ in test]))


def shuffled(frames: list[Frame]) -> list[Frame]:
    """Return the frames in random order."""
    return random.Random(0).sample(frames, len(frames))


def action_metrics(recognizer: VideoCoSwinRecognizer, embedder: FlorenceEmbedder, count: int) -> dict[str, float]:
    """Return all metrics over `count` clips; the probes learn from as many other clips."""
    test = draw_clips(count, "test")
    unseen = [clip for clip in test if clip[1] in HELD_OUT]
    train = draw_clips(count, "probe", held_out=False)
    whole = top1(recognizer, test, list)
    samples = [draw() for _, _, draw in test[:50]]
    start = time.perf_counter()
    for frames in samples:
        recognizer.classify(frames)
    elapsed_ms = 1000 * (time.perf_counter() - start) / len(samples)
    return {
        "top-1, all frames in order": whole,
        f"of these, {len(unseen)} clips of actors never seen in training": top1(recognizer, unseen, list),
        "top-1, frames shuffled": top1(recognizer, test, shuffled),
        "top-1, middle frame only": top1(recognizer, test, lambda frames: [middle_frame(frames)]),
        "probe on the embedder's vector of the middle frame": probe(embedder, train, test, slice(4, 5)),
        "probe on the mean vector of all frames": probe(embedder, train, test, slice(None)),
        "chance": 1 / len(ACTIONS),
        "ms per clip": elapsed_ms,
    }


def main(
    action_model: Annotated[str, typer.Option(help="Name of a model, or a folder with video/.")] = TINY,
    clips: Annotated[int, typer.Option(help="How many to measure on.")] = 550,
    single: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also one that was trained with --frames 1.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure, and print a table."""
    quiet_libraries()
    card, dual_encoder = find_model(action_model, "action"), find_model(TINY)
    recognizer = VideoCoSwinRecognizer.from_pretrained(card.video, name=card.name)
    metrics = action_metrics(
        recognizer, FlorenceEmbedder.from_pretrained(dual_encoder.florence, dual_encoder.name), clips
    )
    if single is not None:
        frame_model = VideoCoSwinRecognizer.from_pretrained(single, name=str(single))
        metrics["the same network, trained on middle frames alone"] = top1(frame_model, draw_clips(clips, "test"), list)
    table = Table("", f"{clips} held-out clips")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.1f}" if name.startswith("ms") else f"{value:.3f}")
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
