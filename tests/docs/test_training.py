"""The commands and the program of docs/training.md run in their order, on synthetic data."""

import json
import random
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from florence_rag.cli.app import app
from recipes.florence_tiny.synthetic.clips import write_mp4
from recipes.florence_tiny.synthetic.demo_corpus import photo_scenes
from recipes.florence_tiny.synthetic.drawing import draw_scene, object_boxes
from recipes.florence_tiny.synthetic.video_scenes import sample_action_segment

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "classes/a bus", "classes/no bus", "questions", "boxes"):
        (tmp_path / name).mkdir(parents=True)
    captions, questions, answers, images, annotations = ["image,text"], [], [], [], []
    for number, scene in enumerate(list(photo_scenes().values())[8:16]):
        file = f"{number}.png"
        kind = "a bus" if any(thing.category == "bus" for thing in scene.objects) else "no bus"
        for folder in ("photos", f"classes/{kind}", "questions", "boxes"):
            draw_scene(scene, (160, 120)).save(tmp_path / folder / file)
        captions.append(f"photos/{file},street number {number}")
        questions.append({"question_id": number, "image_id": number, "question": "is there a bus?"})
        answers.append({"question_id": number, "multiple_choice_answer": "yes" if kind == "a bus" else "no"})
        images.append({"id": number, "file_name": file, "width": 160, "height": 120})
        for left, top, right, bottom in object_boxes(scene):
            shape = [160 * left, 120 * top, 160 * (right - left), 120 * (bottom - top)]
            annotations.append({"image_id": number, "category_id": 1, "bbox": shape})
    for action in ("leaves to the left", "leaves to the right"):
        (tmp_path / "actions" / action).mkdir(parents=True)
        for number in range(3):
            take, leg = sample_action_segment(random.Random(number), action, scene=scene)
            start_s, _ = take.spans()[leg]
            seen = take.draw([start_s + i / 4 for i in range(6)], (160, 120))
            write_mp4(tmp_path / "actions" / action / f"{number}.mp4", seen, 4, (160, 120))
    (tmp_path / "captions.csv").write_text("\n".join(captions))
    (tmp_path / "questions/questions.json").write_text(json.dumps({"questions": questions}))
    (tmp_path / "questions/annotations.json").write_text(json.dumps({"annotations": answers}))
    categories = [{"id": 1, "name": "thing"}]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "boxes/instances.json").write_text(json.dumps(coco))
    return tmp_path


@pytest.mark.slow
def test_the_blocks_run(data: Path) -> None:
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, str(PAGE), "exec"), {})
            continue
        for line in block.splitlines():
            outcome = CliRunner().invoke(app, shlex.split(line)[1:])
            assert outcome.exit_code == 0 and outcome.stdout, f"{line}: {outcome.output}"
    assert {path.name for path in (data / "mine").iterdir()} == {"florence", "meter", "detector", "video", "runs"}
