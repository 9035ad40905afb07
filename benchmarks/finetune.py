"""Measures what florence-tiny learns from scikit-learn's handwritten digits, which it has never seen, on one thread.

python benchmarks/finetune.py [--steps 300] [--json FILE]

The data are 1,797 scans of 8 x 8 pixels, enlarged. Four fifths train the models, and one fifth, always the same, tests
them. The dual encoder learns from a folder for each class and is tested zero-shot; METER learns from VQAv2's format.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits

from florence_rag.chunking import read_image
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.datasets.vqav2 import find_vqa_files
from florence_rag.embedding.florence import FlorenceEmbedder
from florence_rag.finetuning.settings import Settings
from florence_rag.finetuning.trainer import fine_tune
from florence_rag.finetuning.unicl import UniCLTask
from florence_rag.finetuning.vqa import MeterTask
from florence_rag.models.registry import TINY, find_model
from florence_rag.perception.meter import MeterVQA
from florence_rag.tasks.classifier import ZeroShotClassifier

DIGIT_NAMES = "zero one two three four five six seven eight nine".split()
PROMPTS = ("a photo of the digit {}", "the number {}", "{}")
Row = dict[str, Any]


def write_digits(folder: Path) -> None:
    """Write folder/train/NAME/NUMBER.png and folder/test/NAME/NUMBER.png, 64 x 64 pixels, dark on white."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    for rank, number in enumerate(order):
        part = "test" if rank < len(order) // 5 else "train"
        path = folder / part / DIGIT_NAMES[data.target[number]] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = (255 - data.images[number] * 15.9).astype(np.uint8)
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(path)


def write_questions(folder: Path) -> None:
    """Write two questions about each scan of the training part in VQAv2's format."""
    questions, annotations = [], []
    for path in sorted((folder / "train").glob("*/*.png")):
        for text, answer in questions_about(path):
            ids = {"question_id": len(questions), "image_id": int(path.stem)}
            questions.append({**ids, "question": text, "image": f"{path.parent.name}/{path.name}"})
            annotations.append({**ids, "multiple_choice_answer": answer, "answers": [{"answer": answer}]})
    for name, rows in (("questions", questions), ("annotations", annotations)):
        (folder / "train" / f"{name}.json").write_text(json.dumps({name: rows}), "utf-8")


def questions_about(path: Path) -> list[tuple[str, str]]:
    """Return questions about a scan with their answers, as VQA's evaluation writes them."""
    digit = DIGIT_NAMES.index(path.parent.name)
    return [("which digit is this?", str(digit)), ("is it more than four?", "yes" if digit > 4 else "no")]


def zero_shot_accuracy(folder: Path, test: list[Path]) -> float:
    """Return the zero-shot accuracy of a dual encoder on the test images."""
    embedder = FlorenceEmbedder.from_pretrained(folder, "dual encoder")
    classifier = ZeroShotClassifier(embedder, DIGIT_NAMES, prompts=PROMPTS)
    best = classifier.probabilities(embedder.embed_images([read_image(path) for path in test])).argmax(1)
    return float(np.mean([DIGIT_NAMES[i] == path.parent.name for i, path in zip(best, test, strict=True)]))


def meter_accuracy(folder: Path, test: list[Path], which: int) -> float:
    """Return the accuracy of METER on one of the questions about all test images."""
    meter = MeterVQA.from_pretrained(folder)
    pairs = [(path, *questions_about(path)[which]) for path in test]
    return float(np.mean([meter.answer(read_image(path), text).answer == answer for path, text, answer in pairs]))


def measure(folder: Path, settings: Settings) -> list[Row]:
    """Return the accuracy of both models before and after training."""
    write_digits(folder)
    write_questions(folder)
    test = sorted((folder / "test").glob("*/*.png"))
    card, out = find_model(TINY), folder / "mine"
    rows = []
    dual_encoder = fine_tune(UniCLTask([folder / "train"], prompts=PROMPTS), out, card.florence, settings=settings)
    before, after = (zero_shot_accuracy(each, test) for each in (card.florence, out / "florence"))
    rows.append({"model": "dual encoder", "task": "digit, zero-shot", "before": before, "after": after})
    rows[-1]["seconds"] = dual_encoder.seconds
    meter = fine_tune(MeterTask(find_vqa_files(folder / "train")), out, card.meter, settings=settings)
    for which, task in enumerate(("which digit is this?", "is it more than four?")):
        before, after = (meter_accuracy(each, test, which) for each in (card.meter, out / "meter"))
        rows.append({"model": "METER", "task": task, "before": before, "after": after, "seconds": meter.seconds})
    return rows


def main(
    steps: Annotated[int, typer.Option(help="Steps of the optimizer for each model.")] = 300,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results to this file, too.")] = None,
) -> None:
    """Measure and print the results."""
    quiet_libraries()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), Settings(steps=steps, learning_rate=7e-4, precision="bf16", checks=5))
    table = Table("model", "task", "before", "after", "training, s")
    for row in rows:
        table.add_row(row["model"], row["task"], f"{row['before']:.3f}", f"{row['after']:.3f}", f"{row['seconds']:.0f}")
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps({"steps": steps, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
