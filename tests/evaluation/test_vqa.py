import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from florence_rag.datasets.vqav2 import VQADataset, VQAFiles, VQAQuestion, read_vqa
from florence_rag.errors import InputError
from florence_rag.evaluation.vqa import AnsweredQuestion, calibrate_vqa, evaluate_vqa, soft_accuracy, write_answers
from florence_rag.perception.base import VQAResult
from florence_rag.testing import ScriptedVQA, color_frame

TEN = st.lists(st.sampled_from(["red", "blue", "green", "teal"]), min_size=2, max_size=12)


def published(answer: str, people: Sequence[str]) -> float:
    """Return the published formula: min(n / 3, 1), averaged over the sets of all people but one."""
    subsets = [[*people[:i], *people[i + 1 :]] for i in range(len(people))]
    return sum(min(subset.count(answer) / 3, 1) for subset in subsets) / len(subsets)


@given(st.sampled_from(["red", "blue", "pink"]), TEN)
def test_soft_accuracy_is_the_published_formula(answer, people):
    assert soft_accuracy(answer, people) == pytest.approx(published(answer, people))


@pytest.mark.parametrize(("same", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_the_scores_of_ten_people(same, score):
    assert soft_accuracy("yes", ["yes"] * same + ["no"] * (10 - same)) == pytest.approx(score)


@pytest.mark.parametrize(
    ("written", "normalized"),
    [
        ("A dog.", "dog"),
        ("the dog", "dog"),
        ("Two", "2"),
        ("none", "0"),
        ("dont know", "don't know"),
        ("1,000", "1000"),
        ("black/white", "black white"),
        ("3.5", "3.5"),
        (" left\n", "left"),
        ("its", "its"),
    ],
)
def test_answers_are_normalized_where_people_disagree(written, normalized):
    assert soft_accuracy(written, [normalized] * 5 + ["other"] * 5) == 1
    assert soft_accuracy(normalized, [written] * 5 + ["other"] * 5) == 1


def test_answers_are_not_normalized_where_all_people_agree():
    assert soft_accuracy("Dog", ["dog"] * 10) == 0
    assert soft_accuracy(" dog\n", ["dog"] * 10) == 1


@pytest.fixture
def data(tmp_path):
    """Two images with two questions each; the third question has no annotation."""
    for number, color in ((7, "red"), (8, "blue")):
        Image.fromarray(color_frame(color)).save(tmp_path / f"COCO_val2014_{number:012d}.png")
    rows = [(70, 7, "color?"), (71, 7, "bright?"), (80, 8, "color?"), (81, 8, "bright?")]
    questions = [{"question_id": id, "image_id": image, "question": text} for id, image, text in rows]
    people = {70: ["red"] * 10, 71: ["yes"] * 2 + ["no"] * 8, 81: ["no"] * 10}
    annotations = [
        {
            "question_id": id,
            "answers": [{"answer": each} for each in answers],
            "answer_type": "other" if id == 70 else "yes/no",
        }
        for id, answers in people.items()
    ]
    (tmp_path / "questions.json").write_text(json.dumps({"questions": questions}))
    (tmp_path / "annotations.json").write_text(json.dumps({"annotations": annotations}))
    return tmp_path


def scored(data, images=None):
    return read_vqa(VQAFiles((data / "questions.json",), (data / "annotations.json",), images or data))


def unscored(data, images=None):
    return read_vqa(VQAFiles((data / "questions.json",), (), images or data))


VQA = ScriptedVQA({"color?": ("red", 1.0), "bright?": ("yes", 0.5)})


def test_metrics_of_a_data_set(data):
    report, answered = evaluate_vqa(scored(data), VQA, "scripted")
    assert report.counts == {"images": 2, "questions": 3}
    assert report["accuracy"].value == pytest.approx((1 + 0.6 + 0) / 3)
    assert report["accuracy, other"].value == 1 and report["accuracy, yes/no"].value == pytest.approx(0.3)
    assert [failure.source for failure in report.failed] == ["question 80"]
    assert [each.answer for each in answered] == ["red", "yes", "yes"]


def test_a_test_split_is_answered_without_metrics(data, tmp_path):
    report, answered = evaluate_vqa(unscored(data), VQA, "scripted")
    assert report.metrics == () and "no annotations" in report.notes[0] and len(answered) == 4
    write_answers(answered[::-1], tmp_path / "answers.json")
    rows = json.loads((tmp_path / "answers.json").read_text())
    assert rows[0] == {"question_id": 70, "answer": "red"} and [row["question_id"] for row in rows] == [70, 71, 80, 81]


def test_a_question_with_only_a_common_answer_is_scored_by_that(data):
    rows = [{"question_id": id, "multiple_choice_answer": answer} for id, answer in ((70, "The red."), (81, "no"))]
    (data / "annotations.json").write_text(json.dumps({"annotations": rows}))
    report, _ = evaluate_vqa(scored(data), VQA, "scripted")
    assert report["accuracy"].value == 0.5


def test_missing_and_damaged_images_are_reported(data):
    next(data.glob("*7.png")).unlink()
    report, _ = evaluate_vqa(scored(data), VQA, "scripted")
    assert report.counts["questions"] == 1 and "image 7" in [failure.source for failure in report.failed]
    next(data.glob("*8.png")).write_text("no image")
    with pytest.raises(InputError, match="none of the images"):
        evaluate_vqa(scored(data), VQA, "scripted")


def test_two_images_with_one_number_are_an_error(data):
    (data / "thumbs").mkdir()
    Image.fromarray(color_frame("red")).save(data / "thumbs" / "7.png")
    with pytest.raises(InputError, match="are both image 7"):
        evaluate_vqa(unscored(data), VQA, "scripted")
    with pytest.raises(InputError, match="is not a folder"):
        evaluate_vqa(unscored(data, data / "gone"), VQA, "scripted")


@pytest.mark.slow
def test_the_tiny_model_answers_about_synthetic_scenes(scenes):
    from florence_rag.loading.loaders import VQA
    from florence_rag.loading.model_loader import load_model

    data = scored(scenes, scenes / "images")
    report, answered = evaluate_vqa(data, load_model(VQA, "florence-tiny"), "florence-tiny")
    assert report["accuracy"].value > 0.85 and report.counts == {"images": 12, "questions": 60}
    assert isinstance(answered[0], AnsweredQuestion) and isinstance(answered[0].question, VQAQuestion)


class OverconfidentVQA:
    """Answers every other question right, with the same confidence."""

    def __init__(self, confidence=0.99):
        self.confidence, self.asked = confidence, 0

    def answer(self, frame, question):
        self.asked += 1
        return VQAResult("yes" if self.asked % 2 else "no", self.confidence, ())


def many_questions(folder, count=240):
    Image.fromarray(color_frame("red")).save(folder / "000000000001.png")
    for number in range(2, 5):
        (folder / f"00000000000{number}.png").write_bytes((folder / "000000000001.png").read_bytes())
    questions = tuple(
        VQAQuestion(number, 1 + number % 4, "Is it?", ("yes",) * 10, answer_type="yes/no") for number in range(count)
    )
    return VQADataset(questions, folder)


def test_the_calibration_error_and_reliability_are_reported(tmp_path):
    report, _ = evaluate_vqa(many_questions(tmp_path), OverconfidentVQA(), "m")
    for name in ("calibration error", "calibration error, yes/no"):
        assert report[name].value == pytest.approx(0.49)
    assert report.reliability == ((240, pytest.approx(0.99), pytest.approx(0.5)),)
    assert report.to_dict()["reliability"][0]["size"] == 240


def test_a_model_without_confidence_has_no_calibration_error(tmp_path):
    report, answered = evaluate_vqa(many_questions(tmp_path), OverconfidentVQA(None), "m")
    assert [metric.name for metric in report.metrics] == ["accuracy", "accuracy, yes/no"]
    with pytest.raises(InputError, match="0 answers have a confidence and annotations"):
        calibrate_vqa(answered, report)


def test_a_calibration_is_measured_on_other_images(tmp_path):
    report, answered = evaluate_vqa(many_questions(tmp_path), OverconfidentVQA(), "m")
    calibration, measured = calibrate_vqa(answered, report)
    assert measured["calibration error"].value <= 0.05
    assert measured.counts == {"images": 2, "questions": 120}
    assert "the calibration error before was 49.00%" in measured.notes[0]
    assert calibration.scaling_of("yes").probability(0.99) == pytest.approx(0.5, abs=0.05)
