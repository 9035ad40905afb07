"""METER's answer vocabulary."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.errors import ModelError
from florence_rag.models.vqa_vocabulary import ANNOTATIONS, normalize, read_answers, soft_score, vocabulary
from tests.models.reference import PUBLIC, needs_parity, read_json

HOME = PUBLIC / "vqa_vocab"


@pytest.mark.parametrize(
    ("answer", "normalized"),
    [
        ("Two", "2"), ("none", "0"), ("the  cat", "cat"), ("red/blue", "red blue"), ("t-shirt", "t shirt"),
        ("1,000", "1000"), ("3.5", "3.5"), ("U.S.A.", "usa"), ("dont know", "don't know"), ("he'dve", "he'd've"),
        ("couldnt've", "couldn't've"), ("black & white", "black & white"), ("yes, sir", "yes sir"), ("a", ""),
        ("its", "its"), ("10:30", "10:30"), ("ten o'clock", "10 o'clock"),
    ],
)  # fmt: skip
def test_answers_are_normalized(answer, normalized):
    assert normalize(answer) == normalized


@given(st.text())
def test_any_text_can_be_normalized_and_has_no_article(text):
    assert not {"a", "an", "the"} & set(normalize(text).split())


def questions(answers):
    return [{"multiple_choice_answer": answer} for answer in answers]


def test_the_vocabulary_has_answers_of_nine_questions_in_order_of_appearance():
    asked = questions(["no", "yes"] + ["Yes"] * 8 + ["no"] * 8 + ["maybe"] * 8)
    assert vocabulary(asked) == ["no", "yes"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("answers.json", '["yes", "no"]'),
        ("label2ans.json", '{"0": "yes", "1": "no"}'),
        ("ans2label.json", '{"no": 1, "yes": 0}'),
        ("answers.txt", "yes\nno\n"),
        ("answers_of_windows.txt", "\ufeffyes\r\nno\r\n"),
    ],
)
def test_answers_are_read_from_every_format(tmp_path, name, content):
    (tmp_path / name).write_text(content, "utf-8", newline="")
    assert read_answers(tmp_path / name) == ["yes", "no"]


def test_answers_are_rebuilt_from_the_annotations(tmp_path):
    for name, answer in zip(ANNOTATIONS, ["no", "yes"], strict=True):
        (tmp_path / name).write_text(json.dumps({"annotations": questions([answer] * 9)}))
    assert read_answers(tmp_path) == ["no", "yes"]


@pytest.mark.parametrize("content", ['{"0": "yes", "2": "no"}', "[1, 2]", "{", '"yes"'])
def test_files_without_a_list_of_answers(tmp_path, content):
    (tmp_path / "answers.json").write_text(content)
    with pytest.raises(ModelError, match=r"no answers can be read from .*answers\.json"):
        read_answers(tmp_path / "answers.json")


def test_missing_annotations_are_an_error_with_their_source(tmp_path):
    with pytest.raises(ModelError, match=r"v2_mscoco_train2014_annotations\.json' is missing .*visualqa\.org"):
        read_answers(tmp_path)


@needs_parity
def test_the_vocabulary_and_the_scores_equal_the_original():
    expected = read_json(HOME / "expected.json")
    for answer, normalized in expected["normalize_word"]:
        assert normalize(answer) == normalized, answer
    assert read_answers(HOME) == expected["vocab"]
    assert {str(count): soft_score(count) for count in range(6)} == expected["get_score"]
    given = {
        each["question_id"]: [answer["answer"] for answer in each["answers"]]
        for name in ANNOTATIONS
        for each in read_json(HOME / name)["annotations"]
    }
    for row in expected["rows"]:
        # The ten answers are looked up without normalization.
        counts = Counter(given[row["question_id"]])
        scores = {answer: soft_score(count) for answer, count in counts.items() if answer in expected["vocab"]}
        assert dict(zip(row["answers"], row["scores"], strict=True)) == scores
