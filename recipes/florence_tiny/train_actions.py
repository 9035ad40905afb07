"""Trains the action recognizer of florence-tiny: python -m recipes.florence_tiny.train_actions --help.

A Video CoSwin, inflated from the image encoder of florence-tiny, learns from synthetic videos whose actions are known.
An interrupted run resumes from its last checkpoint; a GPU is used if there is one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch.utils.data import Dataset

from florence_rag.models.florence import FlorenceModel
from florence_rag.models.inflation import inflate
from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.models.registry import TINY, find_model
from florence_rag.models.strict_loading import open_strictly
from florence_rag.models.video_coswin import VideoCoSwinConfig, VideoCoSwinForVideoClassification
from recipes.florence_tiny.recipe_trainer import train
from recipes.florence_tiny.synthetic.scene import COLORS, sample_scene
from recipes.florence_tiny.synthetic.video_scenes import (
    ACTIONS,
    IDLE,
    MIRRORED,
    MOVERS,
    Action,
    VideoScene,
    sample_action_segment,
)

FRAMES = 8
WINDOW_S = 2.0
DRAWN_SIZE = (224, 168)
IGNORE = -100
WORDING = {
    "car": ["a {color} car", "a car", "drives"],
    "bus": ["a {color} bus", "a bus", "drives"],
    "bicycle": ["a {color} bicycle", "a bicycle", "rides"],
    "person": ["a person in {color}", "a person", "walks"],
    "dog": ["a {color} dog", "a dog", "runs"],
}
ATTRIBUTES = {"color": list(COLORS), "object": list(MOVERS)}


@dataclass(frozen=True)
class LabeledClip:
    """A clip, (T, side, side, 3) uint8, with its action and its actor, (color, category)."""

    pixels: np.ndarray
    action: Action
    actor: tuple[str, str] | None


class SyntheticClipDataset(Dataset[LabeledClip]):
    """Clips of synthetic videos, drawn on access, with all actions equally often.

    Args:
        count: The number of clips.
        processor: Resizes the frames.
        frames: The number of frames of a clip.
        seed: The seed of the videos.
        exact: Every clip shows an action from its start to its end. Otherwise the clip starts and ends a little earlier
            or later, and half of the clips have the length of the windows that a recognizer sees in a video.
        held_out: Use also combinations of color and category that training never shows, and other videos.
    """

    def __init__(
        self,
        count: int,
        processor: FlorenceImageProcessor,
        *,
        frames: int = FRAMES,
        seed: int = 0,
        exact: bool = False,
        held_out: bool = False,
    ) -> None:
        self.count, self.processor, self.frames, self.seed = count, processor, frames, seed
        self.exact, self.held_out = exact, held_out

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> LabeledClip:
        rng = random.Random(f"{self.seed}/{'held out' if self.held_out else 'clip'}/{index}")
        action = ACTIONS[index % len(ACTIONS)]
        scene = sample_scene(rng, "any" if self.held_out else "seen")
        video_scene, segment = sample_action_segment(rng, action, scene=scene, held_out=self.held_out)
        start, end = video_scene.spans()[segment] if self.exact else _jittered(video_scene.spans()[segment], rng)
        images = video_scene.draw(clip_times(start, end, self.frames), DRAWN_SIZE)
        return LabeledClip(
            np.stack([self.processor.resize(each) for each in images]), action, _actor(video_scene, segment)
        )


def clip_times(start_s: float, end_s: float, count: int = FRAMES) -> list[float]:
    """Return the middles of equal parts of a clip, in seconds."""
    return [start_s + (end_s - start_s) * (i + 0.5) / count for i in range(count)]


def _jittered(span: tuple[float, float], rng: random.Random) -> tuple[float, float]:
    """Return the start and end of a clip that shows about a span."""
    start, end = span
    if rng.random() < 0.5:
        first = (start + end - WINDOW_S) / 2 + rng.uniform(-0.3, 0.3)
        return first, first + WINDOW_S
    slack = 0.15 * (end - start)
    return start + rng.uniform(-slack, slack), end + rng.uniform(-slack, slack)


def _actor(video_scene: VideoScene, segment: int) -> tuple[str, str] | None:
    """Return the actor of a segment; None if nothing moves."""
    return None if video_scene.segments[segment].action == IDLE else video_scene.segments[segment].actor


@dataclass
class ClipCollator:
    """Turns clips into the arguments of VideoCoSwinForVideoClassification.forward; augmentation mirrors half."""

    processor: FlorenceImageProcessor
    augment: bool = True

    def __call__(self, rows: Sequence[LabeledClip]) -> dict[str, Any]:
        """Return `pixel_values` (B, T, 3, H, W), `labels` (B,) and `attribute_labels`, name -> (B,)."""
        mirrored = [self.augment and bool(torch.rand(()) < 0.5) for _ in rows]
        clips = [torch.from_numpy(row.pixels) for row in rows]
        pixels = torch.stack([clip.flip(2) if flip else clip for clip, flip in zip(clips, mirrored, strict=True)])
        values = self.processor.normalize_pixels(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
        actions = [MIRRORED[row.action] if flip else row.action for row, flip in zip(rows, mirrored, strict=True)]
        return {
            "pixel_values": self._with_noise(values) if self.augment else values,
            "labels": torch.tensor([ACTIONS.index(action) for action in actions]),
            "attribute_labels": {
                name: torch.tensor([known.index(row.actor[i]) if row.actor else IGNORE for row in rows])
                for i, (name, known) in enumerate(ATTRIBUTES.items())
            },
        }

    @staticmethod
    def _with_noise(values: torch.Tensor) -> torch.Tensor:
        """Change the brightness and add noise, as compressed videos have it."""
        light = 1 + 0.1 * torch.randn(len(values), 1, 1, 1, 1)
        return values * light + 0.05 * torch.randn_like(values)


def build_recognizer(start: Path, frames: int = FRAMES) -> VideoCoSwinForVideoClassification:
    """Build a classifier with a new head over the inflated image encoder of the dual encoder in `start`."""
    image = open_strictly(FlorenceModel, start).image_encoder
    config = VideoCoSwinConfig.inflating(
        image.config,  # type: ignore[arg-type]  # The config is that of a CoSwin.
        frames=(2, 4, 4),
        num_frames=frames,
        pooling="trajectory",
        id2label=dict(enumerate(ACTIONS)),
        attributes=ATTRIBUTES,
        idle=IDLE,
        window_s=WINDOW_S,
        wording=WORDING,
    )
    model = VideoCoSwinForVideoClassification(config)
    inflate(image.state_dict(), model.video_coswin)
    return model


def main(
    output: Annotated[Path, typer.Option(help="Folder for the checkpoints and the finished network.")] = Path(
        "runs/actions"
    ),
    start: Annotated[str, typer.Option(help="The model whose image encoder is inflated.")] = TINY,
    steps: Annotated[int, typer.Option(help="Optimizer steps.")] = 2400,
    batch: Annotated[int, typer.Option(help="Clips per step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate, after the warm-up.")] = 8e-4,
    frames: Annotated[
        int, typer.Option(help="Frames per clip; 1 measures what can be recognized without motion.")
    ] = FRAMES,
    seed: Annotated[int, typer.Option(help="Seed of the videos and the weights.")] = 0,
) -> None:
    """Train the action recognizer of florence-tiny; run it again to resume an interrupted run."""
    torch.manual_seed(seed)
    model = build_recognizer(find_model(start).florence, frames)
    processor = FlorenceImageProcessor(size=model.config.image_size, fit="squash", enlarge=1.0)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters", flush=True)
    train(
        model.train(),
        SyntheticClipDataset(steps * batch, processor, frames=frames, seed=seed),
        ClipCollator(processor),
        output / "checkpoints",
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        seed=seed,
    )
    model.half().save_pretrained(output / "video")
    processor.save_pretrained(output / "video")


if __name__ == "__main__":
    typer.run(main)
