"""The recipe of florence-tiny's eye for actions: python -m recipes.florence_tiny.train_actions --help.

Video CoSwin, inflated from the image encoder that florence-tiny already has, trained on drawn takes of which it is
known what happens when. A run that was cut off goes on from its last checkpoint; a GPU is used where there is one.
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
    """pixels (T, side, side, 3) uint8, what happens, and who does it: (colour, object)."""

    pixels: np.ndarray
    action: Action
    mover: tuple[str, str] | None


class SyntheticClipDataset(Dataset[LabeledClip]):
    """Clips of takes, drawn when they are asked for, all actions equally often.

    exact: each is one action from its start to its end; otherwise it begins and ends a little off, and half of them are
    as long as what a recogniser looks at in a video. held_out: also of combinations of colour and object that training
    never shows, in which case clip i is of another take than clip i of training. frames: of each clip.
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
        start, end = video_scene.spans()[segment] if self.exact else _about(video_scene.spans()[segment], rng)
        images = video_scene.draw(clip_times(start, end, self.frames), DRAWN_SIZE)
        return LabeledClip(
            np.stack([self.processor.resize(each) for each in images]), action, _seen(video_scene, segment)
        )


def clip_times(start_s: float, end_s: float, count: int = FRAMES) -> list[float]:
    """The middles of equal parts of a clip, in seconds."""
    return [start_s + (end_s - start_s) * (i + 0.5) / count for i in range(count)]


def _about(span: tuple[float, float], rng: random.Random) -> tuple[float, float]:
    """A clip that shows what happens in a span, not to the frame."""
    start, end = span
    if rng.random() < 0.5:
        first = (start + end - WINDOW_S) / 2 + rng.uniform(-0.3, 0.3)
        return first, first + WINDOW_S
    slack = 0.15 * (end - start)
    return start + rng.uniform(-slack, slack), end + rng.uniform(-slack, slack)


def _seen(video_scene: VideoScene, segment: int) -> tuple[str, str] | None:
    """Who acts; nobody does where nothing moves."""
    return None if video_scene.segments[segment].action == IDLE else video_scene.segments[segment].mover


@dataclass
class ClipCollator:
    """Clips -> the arguments of VideoCoSwinForVideoClassification.forward; half of them as seen in a mirror."""

    processor: FlorenceImageProcessor
    augment: bool = True

    def __call__(self, rows: Sequence[LabeledClip]) -> dict[str, Any]:
        """-> pixel_values (B, T, 3, H, W), labels (B,), attribute_labels."""
        turned = [self.augment and bool(torch.rand(()) < 0.5) for _ in rows]
        clips = [torch.from_numpy(row.pixels) for row in rows]
        pixels = torch.stack([clip.flip(2) if flip else clip for clip, flip in zip(clips, turned, strict=True)])
        values = self.processor.normalize_pixels(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
        actions = [MIRRORED[row.action] if flip else row.action for row, flip in zip(rows, turned, strict=True)]
        return {
            "pixel_values": self._varied(values) if self.augment else values,
            "labels": torch.tensor([ACTIONS.index(action) for action in actions]),
            "attribute_labels": {
                name: torch.tensor([known.index(row.mover[i]) if row.mover else IGNORE for row in rows])
                for i, (name, known) in enumerate(ATTRIBUTES.items())
            },
        }

    @staticmethod
    def _varied(values: torch.Tensor) -> torch.Tensor:
        """Lighter or darker, and noisy, as films are that were compressed."""
        light = 1 + 0.1 * torch.randn(len(values), 1, 1, 1, 1)
        return values * light + 0.05 * torch.randn_like(values)


def build_recognizer(start: Path, frames: int = FRAMES) -> VideoCoSwinForVideoClassification:
    """A fresh classifier over the inflated image encoder of a trained dual tower; start: its folder."""
    image = FlorenceModel.from_pretrained(start, dtype=torch.float32).image_encoder
    config = VideoCoSwinConfig.inflating(
        image.config,  # type: ignore[arg-type]  # that of a CoSwin
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
    output: Annotated[Path, typer.Option(help="Checkpoints and the finished network go here.")] = Path("runs/actions"),
    start: Annotated[str, typer.Option(help="The model whose image encoder is inflated.")] = TINY,
    steps: Annotated[int, typer.Option(help="Of the optimiser.")] = 2400,
    batch: Annotated[int, typer.Option(help="Clips in a step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="The largest, after the warm-up.")] = 8e-4,
    frames: Annotated[int, typer.Option(help="Of a clip; 1 tells what can be told without seeing motion.")] = FRAMES,
    seed: Annotated[int, typer.Option(help="Of takes and weights.")] = 0,
) -> None:
    """Train what florence-tiny recognises actions with; run it again to go on after an interruption."""
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
