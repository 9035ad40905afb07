"""Exports synthetic scenes in the formats of published data sets, to try evaluation and training on.

python -m recipes.florence_tiny.synthetic.dataset_export FOLDER [--scenes 60]
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from recipes.florence_tiny.synthetic.captions import canonical_caption, caption
from recipes.florence_tiny.synthetic.clips import write_mp4
from recipes.florence_tiny.synthetic.drawing import draw_scene, object_boxes
from recipes.florence_tiny.synthetic.questions import questions
from recipes.florence_tiny.synthetic.scene import CATEGORIES, Scene, SceneObject, sample_scene
from recipes.florence_tiny.synthetic.video_scenes import ACTIONS, VideoScene, sample_action_segment, sample_video_scene
from recipes.florence_tiny.synthetic.vocabulary import ANSWER_NAMES

CAPTIONS = 5
QUESTIONS = 5
ANNOTATORS = 10
SIZE = (640, 480)
VIDEO_CAPTIONS = 20
VIDEO_SIZE = (320, 240)
FPS = 8


def export_datasets(folder: Path, count: int, seed: int = 0) -> None:
    """Write scenes with distinct captions as data sets for every task.

    Args:
        folder: Receives `images` with captions.json (Karpathy's format), questions.json and annotations.json (VQAv2)
            and instances.json (COCO); `classes`, scenes with one object in a folder for each category; `videos`, with
            msrvtt.csv (MSR-VTT's 1k-A list, a caption for each) and msrvtt.json (20 captions for each); and `actions`,
            clips of one action each, with actions.csv (Kinetics).
        count: The number of scenes.
        seed: The seed of all random choices.
    """
    rng = random.Random(f"data sets {seed}")
    scenes = _distinct(count, rng)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number, scene in enumerate(scenes, start=1):
        draw_scene(scene, SIZE).save(folder / "images" / file_name(number), quality=90)
    questions_json, annotations_json = _vqa(scenes, rng)
    written = {
        "captions": _karpathy(scenes, rng),
        "questions": questions_json,
        "annotations": annotations_json,
        "instances": _coco(scenes),
    }
    for name, content in written.items():
        (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")
    _draw_classes(folder / "classes", max(1, count // len(CATEGORIES)), rng)
    _draw_videos(folder, scenes[: max(2, count // 3)], rng)
    _draw_actions(folder, max(1, count // 30), rng)


def file_name(number: int) -> str:
    """Return the name of an image file, as COCO names it."""
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
            "filepath": "images",
            "filename": file_name(number),
            "imgid": number,
            "split": "test",
            "sentences": [{"raw": caption(scene, rng)} for _ in range(CAPTIONS)],
        }
        for number, scene in enumerate(scenes, start=1)
    ]
    return {"dataset": "synthetic scenes", "images": images}


def _vqa(scenes: Sequence[Scene], rng: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    questions_json, annotations_json = [], []
    for number, scene in enumerate(scenes, start=1):
        for position, question in enumerate(questions(scene, rng, QUESTIONS)):
            ids = {"image_id": number, "question_id": number * 1000 + position}
            questions_json.append({**ids, "question": question.text})
            answers = [{"answer": question.answer, "answer_id": i} for i in range(1, ANNOTATORS + 1)]
            kind = {"question_type": question.type, "answer_type": _answer_type(question.answer)}
            annotations_json.append({**ids, **kind, "multiple_choice_answer": question.answer, "answers": answers})
    return {"questions": questions_json}, {"annotations": annotations_json}


def _answer_type(answer: str) -> str:
    if answer in ("yes", "no"):
        return "yes/no"
    return "number" if answer.isdigit() else "other"


def _coco(scenes: Sequence[Scene]) -> dict[str, Any]:
    width, height = SIZE
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, start=1):
        for obj, (left, top, right, bottom) in zip(scene.objects, object_boxes(scene), strict=True):
            box = [left * width, top * height, (right - left) * width, (bottom - top) * height]
            location = {"image_id": number, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            kind = CATEGORIES.index(obj.category) + 1
            annotations.append({"id": len(annotations) + 1, "category_id": kind, **location})
    numbers = range(1, len(scenes) + 1)
    return {
        "images": [{"id": i, "file_name": file_name(i), "width": width, "height": height} for i in numbers],
        "categories": [{"id": i, "name": ANSWER_NAMES[name]} for i, name in enumerate(CATEGORIES, start=1)],
        "annotations": annotations,
    }


def _draw_classes(folder: Path, each: int, rng: random.Random) -> None:
    for name in CATEGORIES:
        (folder / ANSWER_NAMES[name]).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            obj = sample_scene(rng, "any").objects[0]
            scene = Scene((SceneObject(name, obj.color, obj.size, obj.slot),), seed=rng.getrandbits(32))
            draw_scene(scene, (320, 240)).save(folder / ANSWER_NAMES[name] / f"{number}.jpg", quality=90)


def _draw_videos(folder: Path, scenes: Sequence[Scene], rng: random.Random) -> None:
    (folder / "videos").mkdir(exist_ok=True)
    captions: dict[str, list[str]] = {}
    for number, scene in enumerate(scenes):
        captions[f"video{number}"] = [caption(scene, rng) for _ in range(VIDEO_CAPTIONS)]
        _write_video(folder / "videos" / f"video{number}.mp4", sample_video_scene(rng, 1, scene=scene))
    rows = [(f"ret{i}", f"msr{i}", video, texts[0]) for i, (video, texts) in enumerate(captions.items())]
    _write_table(folder / "msrvtt.csv", [("key", "vid_key", "video_id", "sentence"), *rows])
    content = {
        "videos": [{"id": i, "video_id": video, "split": "test"} for i, video in enumerate(captions)],
        "sentences": [{"video_id": video, "caption": text} for video, texts in captions.items() for text in texts],
    }
    (folder / "msrvtt.json").write_text(json.dumps(content), "utf-8")


def _draw_actions(folder: Path, each: int, rng: random.Random) -> None:
    (folder / "actions").mkdir(exist_ok=True)
    rows = []
    for number, action in enumerate(ACTIONS * each):
        video_scene, segment = sample_action_segment(rng, action, scene=sample_scene(rng, "any"))
        clip = VideoScene(video_scene.scene, (video_scene.segments[segment],))
        _write_video(folder / "actions" / f"clip{number}.mp4", clip)
        rows.append((action, f"clip{number}", 0, round(clip.seconds, 3), "val"))
    _write_table(folder / "actions.csv", [("label", "youtube_id", "time_start", "time_end", "split"), *rows])


def _write_video(path: Path, video_scene: VideoScene) -> None:
    times_s = [i / FPS for i in range(round(video_scene.seconds * FPS))]
    write_mp4(path, video_scene.draw(times_s, VIDEO_SIZE), FPS, VIDEO_SIZE)


def _write_table(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def main(
    folder: Annotated[Path, typer.Argument(help="Where to write the data sets.")],
    scenes: Annotated[int, typer.Option(min=1, help="The number of scenes.")] = 60,
) -> None:
    """Write the data sets."""
    export_datasets(folder, scenes)


if __name__ == "__main__":
    typer.run(main)
