import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.evaluation.vqa import Answered, Asked, evaluate_vqa, read_vqa, soft_accuracy, write_answers
from florence_rag.testing import ScriptedVQA, color_frame

TEN = st.lists(st.sampled_from(["red", "blue", "green", "teal"]), min_size=2, max_size=12)


def published(answer: str, people: Sequence[str]) -> float:
    """The formula as it is printed: min(n / 3, 1), averaged over the sets of all people but one."""
    subsets = [[*people[:i], *people[i + 1 :]] for i in range(len(people))]
    return sum(min(subset.count(answer) / 3, 1) for subset in subsets) / len(subsets)


@given(st.sampled_from(["red", "blue", "pink"]), TEN)
def test_soft_accuracy_is_the_published_formula(answer, people):
    assert soft_accuracy(answer, people) == pytest.approx(published(answer, people))


@pytest.mark.parametrize(("same", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_of_ten_people(same, score):
    assert soft_accuracy("yes", ["yes"] * same + ["no"] * (10 - same)) == pytest.approx(score)


@pytest.mark.parametrize(
    ("said", "meant"),
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
def test_answers_are_written_in_one_way_where_people_disagree(said, meant):
    assert soft_accuracy(said, [meant] * 5 + ["other"] * 5) == 1
    assert soft_accuracy(meant, [said] * 5 + ["other"] * 5) == 1


def test_where_all_people_agree_answers_count_as_they_are():
    assert soft_accuracy("Dog", ["dog"] * 10) == 0
    assert soft_accuracy(" dog\n", ["dog"] * 10) == 1


@pytest.fixture
def data(tmp_path):
    """Two pictures with two questions each; of the third question nobody is known to have answered."""
    for number, color in ((7, "red"), (8, "blue")):
        Image.fromarray(color_frame(color)).save(tmp_path / f"COCO_val2014_{number:012d}.png")
    asked = [(70, 7, "colour?"), (71, 7, "bright?"), (80, 8, "colour?"), (81, 8, "bright?")]
    questions = [{"question_id": id, "image_id": image, "question": text} for id, image, text in asked]
    people = {70: ["red"] * 10, 71: ["yes"] * 2 + ["no"] * 8, 81: ["no"] * 10}
    annotations = [
        {
            "question_id": id,
            "answers": [{"answer": each} for each in said],
            "answer_type": "other" if id == 70 else "yes/no",
        }
        for id, said in people.items()
    ]
    (tmp_path / "questions.json").write_text(json.dumps({"questions": questions}))
    (tmp_path / "annotations.json").write_text(json.dumps({"annotations": annotations}))
    return tmp_path


VQA = ScriptedVQA({"colour?": ("red", 1.0), "bright?": ("yes", 0.5)})


def test_figures_of_a_data_set(data):
    questions = read_vqa(data / "questions.json", data / "annotations.json")
    report, answered = evaluate_vqa(questions, data, VQA, "scripted")
    assert report.counts == {"pictures": 2, "questions": 3}
    assert report["accuracy"].value == pytest.approx((1 + 0.6 + 0) / 3)
    assert report["accuracy, other"].value == 1 and report["accuracy, yes/no"].value == pytest.approx(0.3)
    assert [failure.source for failure in report.failed] == ["question 80"]
    assert [each.answer for each in answered] == ["red", "yes", "yes"]


def test_a_test_split_is_answered_without_figures(data, tmp_path):
    report, answered = evaluate_vqa(read_vqa(data / "questions.json", None), data, VQA, "scripted")
    assert report.figures == () and "no annotations" in report.notes[0] and len(answered) == 4
    write_answers(answered[::-1], tmp_path / "answers.json")
    rows = json.loads((tmp_path / "answers.json").read_text())
    assert rows[0] == {"question_id": 70, "answer": "red"} and [row["question_id"] for row in rows] == [70, 71, 80, 81]


def test_missing_and_damaged_pictures_are_reported(data):
    next(data.glob("*7.png")).unlink()
    questions = read_vqa(data / "questions.json", data / "annotations.json")
    report, _ = evaluate_vqa(questions, data, VQA, "scripted")
    assert report.counts["questions"] == 1 and "picture 7" in [failure.source for failure in report.failed]
    next(data.glob("*8.png")).write_text("no picture")
    with pytest.raises(InputError, match="none of the pictures"):
        evaluate_vqa(questions, data, VQA, "scripted")


def test_two_pictures_of_one_number_are_an_error(data):
    (data / "thumbs").mkdir()
    Image.fromarray(color_frame("red")).save(data / "thumbs" / "7.png")
    with pytest.raises(InputError, match="are both picture 7"):
        evaluate_vqa(read_vqa(data / "questions.json", None), data, VQA, "scripted")
    with pytest.raises(InputError, match="is no folder"):
        evaluate_vqa(read_vqa(data / "questions.json", None), data / "gone", VQA, "scripted")


@pytest.mark.parametrize(
    ("questions", "annotations", "message"),
    [
        ({"questions": [{"image_id": 1}]}, None, r"questions\[0\] of .* has no field 'question_id'"),
        (
            {"questions": [{"question_id": 1, "image_id": "1", "question": "?"}]},
            None,
            "'image_id' of .* is '1'; it must",
        ),
        ({"questions": [{"question_id": 1, "image_id": 1, "question": " "}]}, None, "'question' of .* is empty"),
        (None, {"annotations": [{"question_id": 70}]}, "has no field 'answers'"),
        (None, {"annotations": [{"question_id": 70, "answers": []}]}, "'answers' of .* is empty"),
        (None, {"annotations": [{"question_id": 70, "answers": ["red"]}]}, "an answer of .* it must be an object"),
        (
            None,
            {"annotations": [{"question_id": 1, "answers": [{"answer": "red"}]}]},
            "annotates none of the questions",
        ),
        (None, {"questions": []}, "has no field 'annotations'"),
    ],
)
def test_the_field_that_is_wrong_is_named(data, questions, annotations, message):
    for name, content in (("questions", questions), ("annotations", annotations)):
        if content is not None:
            (data / f"{name}.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_vqa(data / "questions.json", data / "annotations.json")


def test_the_tiny_model_answers_about_drawn_streets(streets):
    from florence_rag.loading.model_factory import open_vqa

    questions = read_vqa(streets / "questions.json", streets / "annotations.json")
    report, answered = evaluate_vqa(questions, streets / "pictures", open_vqa("florence-tiny"), "florence-tiny")
    assert report["accuracy"].value > 0.85 and report.counts == {"pictures": 12, "questions": 60}
    assert isinstance(answered[0], Answered) and isinstance(answered[0].asked, Asked)
