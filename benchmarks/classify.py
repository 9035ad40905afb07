"""Accuracy of classification by labels alone, by a few and by many examples, on synthetic objects and on digits.

python benchmarks/classify.py [--model florence-tiny] [--json FILE]

Digits: scikit-learn's 1,797 scans of 8 x 8 pixels, enlarged; synthetic objects: scenes with one object each. The test
images are not used in training.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits

from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.embedding.base import Embedder
from florence_rag.loading.loaders import EMBEDDER
from florence_rag.loading.model_loader import load_model
from florence_rag.models.registry import TINY
from florence_rag.perception.base import Classifier
from florence_rag.tasks.classifier import ZeroShotClassifier
from florence_rag.tasks.probe import train_probe
from florence_rag.types import Frame
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.scene import (
    CATEGORIES,
    COLORS,
    ROADS,
    SIZES,
    SLOTS,
    TIMES,
    Backdrop,
    Scene,
    SceneObject,
)
from recipes.florence_tiny.synthetic.vocabulary import ANSWER_NAMES

Data = tuple[np.ndarray, list[str]]
"""Vectors (N, D), and the label of each."""
Row = dict[str, Any]


def synthetic_objects(rng: random.Random, each: int) -> tuple[list[Frame], list[str]]:
    """Draw scenes with one object of any color, size, position and light."""
    names = [name for name in CATEGORIES for _ in range(each)]
    frames = [np.asarray(draw_scene(sample_single_object(rng, name), (320, 240))) for name in names]
    return frames, [ANSWER_NAMES[name] for name in names]


def sample_single_object(rng: random.Random, name: str) -> Scene:
    """Sample a scene with one object of this category."""
    obj = SceneObject(name, rng.choice(COLORS), rng.choice(SIZES), rng.randrange(SLOTS))
    return Scene((obj,), Backdrop(rng.choice(TIMES), rng.choice(ROADS)), rng.getrandbits(32))


def digits() -> tuple[list[Frame], list[str]]:
    """Return scans of handwritten digits, 64 x 64 pixels."""
    data = load_digits()
    frames = [Image.fromarray((255 - image * 15.9).astype(np.uint8)).resize((64, 64), 3) for image in data.images]
    return [np.asarray(frame.convert("RGB")) for frame in frames], [str(number) for number in data.target]


def split(data: Data, rng: np.random.Generator) -> tuple[Data, Data]:
    """Split the data into four fifths for training and one for testing."""
    vectors, labels = data
    order = rng.permutation(len(labels))
    cut = len(labels) // 5
    return tuple((vectors[part], [labels[i] for i in part]) for part in (order[cut:], order[:cut]))  # type: ignore[return-value]


def few(data: Data, each: int) -> Data:
    """Return the first examples of each label."""
    vectors, labels = data
    selected = [i for i, label in enumerate(labels) if labels[:i].count(label) < each]
    return vectors[selected], [labels[i] for i in selected]


def accuracy(classifier: Classifier, data: Data) -> float:
    """Return the accuracy, in [0, 1]."""
    vectors, labels = data
    best = classifier.probabilities(vectors).argmax(axis=1)
    return float(np.mean([classifier.labels[i] == label for i, label in zip(best, labels, strict=True)]))


def probe_rows(name: str, embedder: Embedder, learn: Data, test: Data, shots: Sequence[int | None]) -> list[Row]:
    """Return rows for probes that learn from a number of examples per label; None means all."""
    rows = []
    for each in shots:
        part = learn if each is None else few(learn, each)
        start = time.perf_counter()
        probe = train_probe(*part, embedder.info)
        elapsed_s = time.perf_counter() - start
        what = f"probe, {each} of each" if each else f"probe, all {len(part[1])}"
        rows.append(
            {
                "data": name,
                "way": what,
                "accuracy": accuracy(probe, test),
                "expected": probe.accuracy,
                "seconds": elapsed_s,
            }
        )
    return rows


def zero_shot_row(name: str, embedder: Embedder, test: Data, prompts: Sequence[str] | None) -> Row:
    """Return the row of a zero-shot classifier."""
    start = time.perf_counter()
    classifier = ZeroShotClassifier(embedder, sorted(set(test[1])), prompts=prompts)
    elapsed_s = time.perf_counter() - start
    what = "labels alone, 81 sentences" if prompts is None else f"labels alone, as {prompts[0]!r}"
    return {"data": name, "way": what, "accuracy": accuracy(classifier, test), "expected": None, "seconds": elapsed_s}


def main(
    model: Annotated[str, typer.Option(help="The embedding model.")] = TINY,
    each: Annotated[int, typer.Option(help="Number of scenes for each of the 9 categories.")] = 100,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure, and print a table."""
    quiet_libraries()
    embedder, rows, embed_ms = load_model(EMBEDDER, model), [], {}
    for name, (frames, labels) in {
        "synthetic objects": synthetic_objects(random.Random(8), each),
        "digits": digits(),
    }.items():
        start = time.perf_counter()
        vectors = embedder.embed_images(frames)
        embed_ms[name] = 1000 * (time.perf_counter() - start) / len(frames)
        learn, test = split((vectors, labels), np.random.default_rng(0))
        rows += [zero_shot_row(name, embedder, test, prompts) for prompts in (["{}"], None)]
        rows += probe_rows(name, embedder, learn, test, (1, 5, 20, None))
    table = Table("data", "way", "accuracy", "cross-validated", "seconds to prepare")
    for row in rows:
        expected = "" if row["expected"] is None else f"{row['expected']:.3f}"
        table.add_row(row["data"], row["way"], f"{row['accuracy']:.3f}", expected, f"{row['seconds']:.2f}")
    Console().print(table)
    Console().print(f"An image takes {embed_ms['synthetic objects']:.1f} ms to embed, and microseconds to classify.")
    if json_file is not None:
        json_file.write_text(json.dumps({"rows": rows, "embed_ms": embed_ms}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
