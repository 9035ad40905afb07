"""How often the warmest place of a heat map lies on the object that a text names, on synthetic scenes.

Run with `python benchmarks/heat_maps.py --scenes 40`. Each scene costs 65 embeddings.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from florence_rag.loading.loaders import EMBEDDER
from florence_rag.loading.model_loader import load_model
from florence_rag.retrieval.heat_map import occlusion_map
from florence_rag.types import Box, Frame
from florence_rag.viz import heat_map
from recipes.florence_tiny.synthetic.drawing import draw_scene, object_boxes
from recipes.florence_tiny.synthetic.scene import sample_scene


def sample_objects(count: int, seed: int = 0) -> Iterator[tuple[Frame, str, Box]]:
    """Yield scenes with the name and the box of an object whose color and category no other object has together."""
    rng = random.Random(seed)
    while count:
        scene = sample_scene(rng, "any")
        place = rng.randrange(len(scene.objects))
        combination = scene.objects[place].combination
        if [each.combination for each in scene.objects].count(combination) == 1:
            count -= 1
            yield np.asarray(draw_scene(scene)), "a {} {}".format(*combination), object_boxes(scene)[place]


def peak(weights: np.ndarray) -> tuple[float, float]:
    """Return x and y of the middle of the warmest cell, in fractions of width and height."""
    row, column = np.unravel_index(weights.argmax(), weights.shape)
    return (float(column) + 0.5) / weights.shape[1], (float(row) + 0.5) / weights.shape[0]


def lies_in(point: tuple[float, float], box: Box, margin: float = 0.0) -> bool:
    """Return whether a point lies in a box, or near it by a margin."""
    (x, y), (left, top, right, bottom) = point, box
    return left - margin <= x <= right + margin and top - margin <= y <= bottom + margin


def main(
    scenes: Annotated[int, typer.Option(help="The number of scenes.")] = 40,
    model: Annotated[str, typer.Option(help="The embedder.")] = "florence-tiny",
    draw: Annotated[Path | None, typer.Option(help="A folder for the drawings.")] = None,
) -> None:
    """Print the share of heat maps whose warmest place lies in the box, and the share of the image that boxes cover."""
    embedder = load_model(EMBEDDER, model)
    inside, near, areas, seconds = [], [], [], []
    for number, (frame, text, box) in enumerate(sample_objects(scenes)):
        vector = embedder.embed_texts([text])[0]
        started = time.perf_counter()
        weights = occlusion_map(embedder, frame, vector)
        seconds.append(time.perf_counter() - started)
        inside.append(lies_in(peak(weights), box))
        near.append(lies_in(peak(weights), box, margin=0.5 / len(weights)))
        areas.append((box[2] - box[0]) * (box[3] - box[1]))
        if draw is not None:
            draw.mkdir(parents=True, exist_ok=True)
            heat_map(frame, weights, box).save(draw / f"{number:03} {text}.png")
    print(f"warmest place in the box: {np.mean(inside):.0%}, within half a cell of it: {np.mean(near):.0%}")
    print(f"boxes cover {np.mean(areas):.1%} of an image; {scenes} scenes, {np.median(seconds):.2f} s each")


if __name__ == "__main__":
    typer.run(main)
