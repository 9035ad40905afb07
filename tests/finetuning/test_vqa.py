import json
from dataclasses import replace

import pytest
import torch

from florence_rag.datasets.vqav2 import VQAQuestion, find_vqa_files, read_vqa
from florence_rag.errors import InputError
from florence_rag.finetuning.settings import Settings
from florence_rag.finetuning.trainer import fine_tune
from florence_rag.finetuning.vqa import (
    MeterTask,
    adapt_to_answers,
    answer_scores,
    answer_vocabulary,
    common_answer,
    split_questions,
)
from florence_rag.models.meter_heads import MeterForMultipleTasks
from florence_rag.models.registry import find_model
from florence_rag.perception.meter import MeterVQA
from florence_rag.testing import color_frame

QUESTION = "what colour is it?"
QUICK = Settings(steps=4, batch=8, checks=2, validation=0.2)


def write(folder, questions, annotations, name=""):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}questions.json").write_text(json.dumps(questions))
    (folder / f"{name}annotations.json").write_text(json.dumps(annotations))
    return folder


def vqa_files(*rows):
    """Return the content of both files for pairs of an image and its answers."""
    questions = [
        {"question_id": i, "image_id": 100 + i, "image": image, "question": QUESTION}
        for i, (image, _) in enumerate(rows)
    ]
    annotations = [
        {"question_id": i, "answers": [{"answer": answer} for answer in answers]} for i, (_, answers) in enumerate(rows)
    ]
    return {"questions": questions}, {"annotations": annotations}


@pytest.fixture
def data(colors):
    paths = sorted(colors.glob("*/*.png"))
    return write(colors, *vqa_files(*((f"{path.parent.name}/{path.name}", [path.parent.name] * 3) for path in paths)))


def test_meter_learns_answers_and_opens_by_name(start, data, tmp_path):
    out, steps = tmp_path / "mine", []
    settings = replace(QUICK, steps=40, batch=8, learning_rate=5e-3)
    result = fine_tune(MeterTask(find_vqa_files(data)), out, start / "meter", settings=settings, progress=steps.append)
    assert result.after["soft accuracy"] == 1.0
    assert (result.examples, result.validation, len(steps) > 1) == (19, 5, True)
    meter = MeterVQA.from_pretrained(find_model(str(out), "answer").meter)
    assert meter.answer(color_frame("green"), QUESTION).answer == "green"
    assert "4: " in (out / "meter" / "README.md").read_text("utf-8")
    assert fine_tune(MeterTask(find_vqa_files(data)), out, start / "meter", settings=settings).steps == 40


def test_missing_images_are_reported(start, data, tmp_path):
    (data / "red" / "0.png").unlink()
    result = fine_tune(MeterTask(find_vqa_files(data)), tmp_path / "mine", start / "meter", settings=QUICK)
    assert result.examples + result.validation == 23
    (failure,) = result.failed
    assert failure.source.endswith("red/0.png")


def test_known_answers_keep_their_weights(start):
    before = MeterForMultipleTasks.from_pretrained(start / "meter")
    yes = before.config.answers.index("yes")
    after = adapt_to_answers(start / "meter", ["perhaps", "yes"])
    assert after.config.heads == ["vqa"] and after.config.num_answers == 2
    torch.testing.assert_close(after.heads["vqa"][3].weight[1].cpu(), before.heads["vqa"][3].weight[yes])
    torch.testing.assert_close(after.heads["vqa"][0].weight.cpu(), before.heads["vqa"][0].weight)


def test_scores_are_scaled_to_ten_annotators():
    ten = VQAQuestion(1, 1, "", ("d",) * 6 + ("b",) * 3 + ("c",))
    assert answer_scores(ten) == {"d": 1.0, "b": 0.9, "c": 0.3}
    assert answer_scores(VQAQuestion(1, 1, "", ("b",))) == {"b": 1.0}


def test_splits_follow_the_names_of_the_files(tmp_path):
    (tmp_path / "val2014").mkdir()
    (tmp_path / "val2014" / "COCO_val2014_000000000042.jpg").write_bytes(b"")
    for number, split in ((1, "train2014_"), (2, "val2014_")):
        question = {"question_id": number, "image_id": 42, "question": "Is it?"}
        annotation = {"question_id": number, "multiple_choice_answer": "Yes.", "answers": [{"answer": "The cat"}]}
        write(tmp_path, {"questions": [question]}, {"annotations": [annotation]}, split)
    found = read_vqa(find_vqa_files(tmp_path)).questions
    assert [each.split for each in found] == ["train", "val"]
    assert answer_scores(found[0]) == {"cat": 1.0} and common_answer(found[0]) == "yes"
    learn, check = split_questions(found, 0.1, 0)
    assert [each.split for each in learn + check] == ["train", "val"]


def test_questions_about_one_image_stay_together():
    questions = [VQAQuestion(i, i % 5, str(i), ("a",)) for i in range(20)]
    learn, check = split_questions(questions, 0.2, 0)
    assert len(check) == 4 and not {each.image_id for each in learn} & {each.image_id for each in check}


def test_rare_answers_are_not_learned():
    questions = [VQAQuestion(i, i, "", (answer,)) for i, answer in enumerate("ddbbc")]
    assert answer_vocabulary(questions, 2) == ["d", "b"]
    with pytest.raises(InputError, match=r"0 answers are .* of 3 or more questions.*lower --min-questions"):
        answer_vocabulary(questions, 3)


def test_a_data_set_without_readable_images_is_refused(start, tmp_path):
    nothing = write(tmp_path / "data", *vqa_files(("gone.png", ["a"]), ("lost.png", ["b"])))
    with pytest.raises(InputError, match=r"0 of the 2 examples .* can be used.*gone\.png"):
        fine_tune(MeterTask(find_vqa_files(nothing)), tmp_path / "m", start / "meter")
