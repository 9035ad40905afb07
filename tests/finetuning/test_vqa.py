import json
from dataclasses import replace

import pytest
import torch

from florence_rag.errors import InputError
from florence_rag.finetuning.questions import Question, find_files, read_questions, vocabulary_of
from florence_rag.finetuning.settings import Settings
from florence_rag.finetuning.vqa import parted, train_meter, with_answers
from florence_rag.models.meter_heads import MeterForMultipleTasks
from florence_rag.models.registry import find_model
from florence_rag.perception.meter import MeterVQA
from florence_rag.testing import color_frame

ASKED = "what colour is it?"
QUICK = Settings(steps=4, batch=8, checks=2, validation=0.2)


def write(folder, questions, annotations, name=""):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}questions.json").write_text(json.dumps(questions))
    (folder / f"{name}annotations.json").write_text(json.dumps(annotations))
    return folder


def asked(*rows):
    """(picture, answers) -> the two files."""
    questions = [
        {"question_id": i, "image_id": 100 + i, "image": image, "question": ASKED} for i, (image, _) in enumerate(rows)
    ]
    annotations = [
        {"question_id": i, "answers": [{"answer": answer} for answer in answers]} for i, (_, answers) in enumerate(rows)
    ]
    return {"questions": questions}, {"annotations": annotations}


@pytest.fixture
def data(colors):
    paths = sorted(colors.glob("*/*.png"))
    return write(colors, *asked(*((f"{path.parent.name}/{path.name}", [path.parent.name] * 3) for path in paths)))


def test_meter_learns_answers_and_opens_by_name(start, data, tmp_path):
    out, steps = tmp_path / "mine", []
    settings = replace(QUICK, steps=40, batch=8, learning_rate=5e-3)
    result = train_meter(find_files(data), out, start / "meter", settings=settings, progress=steps.append)
    assert result.after["soft accuracy"] == 1.0
    assert (result.examples, result.validation, len(steps) > 1) == (19, 5, True)
    meter = MeterVQA.from_pretrained(find_model(str(out), "answer").meter)
    assert meter.answer(color_frame("green"), ASKED).answer == "green"
    assert "4: " in (out / "meter" / "README.md").read_text("utf-8")
    assert train_meter(find_files(data), out, start / "meter", settings=settings).steps == 40


def test_files_that_are_missing_are_told(start, data, tmp_path):
    (data / "red" / "0.png").unlink()
    result = train_meter(find_files(data), tmp_path / "mine", start / "meter", settings=QUICK)
    assert result.examples + result.validation == 23
    (failure,) = result.failed
    assert failure.source.endswith("red/0.png")


def test_answers_that_were_known_are_kept(start):
    before = MeterForMultipleTasks.from_pretrained(start / "meter")
    yes = before.config.answers.index("yes")
    after = with_answers(start / "meter", ["perhaps", "yes"])
    assert after.config.heads == ["vqa"] and after.config.num_answers == 2
    torch.testing.assert_close(after.heads["vqa"][3].weight[1].cpu(), before.heads["vqa"][3].weight[yes])
    torch.testing.assert_close(after.heads["vqa"][0].weight.cpu(), before.heads["vqa"][0].weight)


def test_scores_are_those_of_ten_annotators_or_of_as_many_as_there_are(tmp_path):
    ten = Question(tmp_path, "", ("a",) * 6 + ("b",) * 3 + ("c",), "a")
    assert ten.scores() == {"a": 1.0, "b": 0.9, "c": 0.3}
    assert Question(tmp_path, "", ("a",), "a").scores() == {"a": 1.0}


def test_pictures_are_found_by_number_and_parts_by_name(tmp_path):
    (tmp_path / "val2014").mkdir()
    picture = tmp_path / "val2014" / "COCO_val2014_000000000042.jpg"
    picture.write_bytes(b"")
    for part in ("train2014_", "val2014_"):
        number = {"train2014_": 1, "val2014_": 2}[part]
        question = {"question_id": number, "image_id": 42, "question": "Is it?"}
        annotation = {"question_id": number, "multiple_choice_answer": "Yes.", "answers": [{"answer": "The cat"}]}
        write(tmp_path, {"questions": [question]}, {"annotations": [annotation]}, part)
    found = read_questions(find_files(tmp_path))
    assert [each.part for each in found] == ["train", "validation"]
    assert {each.image for each in found} == {picture}
    assert found[0].answers == ("cat",) and found[0].common == "yes"
    learn, kept = parted(found, 0.1, 0)
    assert [each.part for each in learn + kept] == ["train", "validation"]


def test_questions_about_one_picture_stay_together(tmp_path):
    questions = [Question(tmp_path / str(i % 5), str(i), ("a",), "a") for i in range(20)]
    learn, kept = parted(questions, 0.2, 0)
    assert len(kept) == 4 and not {each.image for each in learn} & {each.image for each in kept}


def test_rare_answers_are_not_learned(tmp_path):
    questions = [Question(tmp_path, "", (answer,), answer) for answer in "aabbc"]
    assert vocabulary_of(questions, 2) == ["a", "b"]
    with pytest.raises(InputError, match=r"0 answers are .* of 3 or more questions.*lower --least"):
        vocabulary_of(questions, 3)


@pytest.mark.parametrize(
    ("questions", "annotations", "message"),
    [
        ([], {}, "has no list 'questions'"),
        ({"questions": [{"question_id": 1}]}, {}, r"questions\[0\] of .* has no field 'image_id'"),
        ({"questions": [{"question_id": 1, "image_id": 1, "question": 5}]}, {}, "'question' of .* is 5"),
        ({"questions": [{"question_id": 1, "image_id": 1, "question": " "}]}, {}, "'question' of .* is empty"),
        ({"questions": []}, {"questions": []}, "has no list 'annotations'"),
        ({"questions": []}, {"annotations": [{}]}, r"annotations\[0\] of .* has no field 'question_id'"),
        ({"questions": []}, {"annotations": []}, "no question has an answer"),
        (asked(("a", ["x"]))[0], {"annotations": [{"question_id": 0}]}, "no field 'multiple_choice_answer'"),
        (asked(("a", ["x"]))[0], {"annotations": [{"question_id": 0, "answers": ["x"]}]}, "no field 'answer'"),
    ],
)
def test_the_wrong_form_is_told_with_the_field(tmp_path, questions, annotations, message):
    files = find_files(write(tmp_path / "data", questions, annotations))
    with pytest.raises(InputError, match=message):
        read_questions(files)


def test_files_that_are_not_there(tmp_path, start):
    with pytest.raises(InputError, match=r"there is no file \*questions\*\.json"):
        find_files(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        find_files(tmp_path / "gone")
    nothing = write(tmp_path / "data", *asked(("gone.png", ["a"]), ("lost.png", ["b"])))
    with pytest.raises(InputError, match=r"0 of the 2 examples .* can be used.*gone\.png"):
        train_meter(find_files(nothing), tmp_path / "m", start / "meter")
