"""Drawn streets written in the formats of the field's data sets, to try evaluations on.

python -m florence_rag.training.world.data_sets FOLDER [--scenes 60]
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from florence_rag.training.world.draw import boxes, draw
from florence_rag.training.world.questions import questions
from florence_rag.training.world.scene import OBJECTS, Scene, Thing, sample_scene
from florence_rag.training.world.vocabulary import ANSWER_NAMES
from florence_rag.training.world.words import canonical_caption, caption

CAPTIONS = 5
QUESTIONS = 5
ANNOTATORS = 10
SIZE = (640, 480)


def draw_data_sets(folder: Path, count: int, seed: int = 0) -> None:
    """So many streets with distinct captions in folder/pictures, and what is to be known of them beside it:

    captions.json (Karpathy's format), questions.json and annotations.json (VQAv2), instances.json (COCO); and
    folder/classes, streets with one thing, a folder for each kind.
    """
    rng = random.Random(f"data sets {seed}")
    scenes = _distinct(count, rng)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for number, scene in enumerate(scenes, start=1):
        draw(scene, SIZE).save(folder / "pictures" / file_name(number), quality=90)
    asked, annotated = _vqa(scenes, rng)
    written = {
        "captions": _karpathy(scenes, rng),
        "questions": asked,
        "annotations": annotated,
        "instances": _coco(scenes),
    }
    for name, content in written.items():
        (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")
    _draw_classes(folder / "classes", max(1, count // len(OBJECTS)), rng)


def file_name(number: int) -> str:
    """Of the picture with this number, as COCO names them."""
    return f"{number:012d}.jpg"


def _distinct(count: int, rng: random.Random) -> list[Scene]:
    scenes: dict[str, Scene] = {}
    while len(scenes) < count:
        scene = sample_scene(rng, "any")
        scenes.setdefault(canonical_caption(scene), scene)
    return list(scenes.values())


def _karpathy(scenes: Sequence[Scene], rng: random.Random) -> dict[str, Any]:
    images = [
        {
            "filepath": "pictures",
            "filename": file_name(number),
            "imgid": number,
            "split": "test",
            "sentences": [{"raw": caption(scene, rng)} for _ in range(CAPTIONS)],
        }
        for number, scene in enumerate(scenes, start=1)
    ]
    return {"dataset": "drawn streets", "images": images}


def _vqa(scenes: Sequence[Scene], rng: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    asked, annotated = [], []
    for number, scene in enumerate(scenes, start=1):
        for place, question in enumerate(questions(scene, rng, QUESTIONS)):
            ids = {"image_id": number, "question_id": number * 1000 + place}
            asked.append({**ids, "question": question.text})
            answers = [{"answer": question.answer, "answer_id": i} for i in range(1, ANNOTATORS + 1)]
            kind = {"question_type": question.type, "answer_type": _answer_type(question.answer)}
            annotated.append({**ids, **kind, "multiple_choice_answer": question.answer, "answers": answers})
    return {"questions": asked}, {"annotations": annotated}


def _answer_type(answer: str) -> str:
    if answer in ("yes", "no"):
        return "yes/no"
    return "number" if answer.isdigit() else "other"


def _coco(scenes: Sequence[Scene]) -> dict[str, Any]:
    width, height = SIZE
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, start=1):
        for thing, (left, top, right, bottom) in zip(scene.things, boxes(scene), strict=True):
            box = [left * width, top * height, (right - left) * width, (bottom - top) * height]
            place = {"image_id": number, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            kind = OBJECTS.index(thing.object) + 1
            annotations.append({"id": len(annotations) + 1, "category_id": kind, **place})
    numbers = range(1, len(scenes) + 1)
    return {
        "images": [{"id": i, "file_name": file_name(i), "width": width, "height": height} for i in numbers],
        "categories": [{"id": i, "name": ANSWER_NAMES[name]} for i, name in enumerate(OBJECTS, start=1)],
        "annotations": annotations,
    }


def _draw_classes(folder: Path, each: int, rng: random.Random) -> None:
    for name in OBJECTS:
        (folder / ANSWER_NAMES[name]).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            thing = sample_scene(rng, "any").things[0]
            scene = Scene((Thing(name, thing.colour, thing.size, thing.slot),), seed=rng.getrandbits(32))
            draw(scene, (320, 240)).save(folder / ANSWER_NAMES[name] / f"{number}.jpg", quality=90)


def main(
    folder: Annotated[Path, typer.Argument(help="Where to write them.")],
    scenes: Annotated[int, typer.Option(min=1, help="How many streets.")] = 60,
) -> None:
    """Draw them."""
    draw_data_sets(folder, scenes)


if __name__ == "__main__":
    typer.run(main)
