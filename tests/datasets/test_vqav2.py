import json

import pytest

from florence_rag.datasets.vqav2 import VQAQuestion, find_vqa_files, read_vqa
from florence_rag.errors import InputError


def write(folder, questions, annotations=None, name=""):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}questions.json").write_text(json.dumps(questions))
    if annotations is not None:
        (folder / f"{name}annotations.json").write_text(json.dumps(annotations))
    return folder


def question(id=1, **changes):
    return {"question_id": id, "image_id": 42, "question": "Is it?", **changes}


def annotation(id=1, *answers, **more):
    return {"question_id": id, "answers": [{"answer": answer} for answer in answers], **more}


def test_questions_and_annotations_are_joined(tmp_path):
    questions = {"questions": [question(1), question(2, image="a/b.png"), question("3", image_id="kitchen")]}
    annotations = {"annotations": [annotation("3", "no", multiple_choice_answer="No."), annotation(1, "Yes", "yes")]}
    annotations["annotations"][1]["answer_type"] = "yes/no"
    data = read_vqa(find_vqa_files(write(tmp_path / "data", questions, annotations)))
    assert data.questions == (
        VQAQuestion(1, 42, "Is it?", ("Yes", "yes"), answer_type="yes/no"),
        VQAQuestion("3", "kitchen", "Is it?", ("no",), "No."),
    )
    assert [failure.source for failure in data.failed] == ["question 2"] and data.images == tmp_path / "data"


def test_a_test_split_has_no_annotations(tmp_path):
    files = find_vqa_files(write(tmp_path / "data", {"questions": [question()]}), need_annotations=False)
    assert read_vqa(files).questions == (VQAQuestion(1, 42, "Is it?"),) and files.annotations == ()


def test_the_names_of_files_determine_the_split(tmp_path):
    for number, split in enumerate(("train2014_", "val2014_")):
        answers = {"annotations": [annotation(number, "The cat", multiple_choice_answer="Yes.")]}
        write(tmp_path, {"questions": [question(number)]}, answers, split)
    files = find_vqa_files(tmp_path)
    assert [each.split for each in read_vqa(files).questions] == ["train", "val"]
    (only,) = read_vqa(files.for_evaluation()).questions
    assert only.id == 1


def test_the_name_of_the_annotations_alone_determines_the_split(tmp_path):
    write(tmp_path, {"questions": [question(0), question(1)]})
    for number, split in enumerate(("train", "val")):
        (tmp_path / f"{split}_annotations.json").write_text(json.dumps({"annotations": [annotation(number, "a")]}))
    assert [each.split for each in read_vqa(find_vqa_files(tmp_path)).questions] == ["train", "val"]


def test_a_data_set_is_a_folder_or_a_file_of_questions(tmp_path):
    write(tmp_path / "data", {}, {})
    file, answers = tmp_path / "data" / "questions.json", tmp_path / "data" / "annotations.json"
    assert find_vqa_files(tmp_path / "data") == ((file,), (answers,), tmp_path / "data")
    assert find_vqa_files(file, (), [answers]) == find_vqa_files(None, [file], [answers])
    assert find_vqa_files(file, need_annotations=False, images=tmp_path) == ((file,), (), tmp_path)
    with pytest.raises(InputError, match=r"there is no file \*annotations\*\.json"):
        find_vqa_files(file)


def test_missing_files_are_an_error(tmp_path):
    with pytest.raises(InputError, match=r"there is no file \*questions\*\.json"):
        find_vqa_files(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        find_vqa_files(tmp_path / "gone")
    with pytest.raises(InputError, match="give a folder with questions, annotations and images"):
        find_vqa_files(None)


ONE_QUESTION = {"questions": [question()]}


@pytest.mark.parametrize(
    ("questions", "annotations", "message"),
    [
        ([], {}, "must be an object with the field 'questions'"),
        ({"questions": [{"image_id": 1}]}, {}, r"questions\[0\] of .* has no field 'question_id'"),
        ({"questions": [{"question_id": 1}]}, {}, r"questions\[0\] of .* has no field 'image_id'"),
        ({"questions": [question(image_id=1.5)]}, {}, "'image_id' of .* is 1.5; it must"),
        ({"questions": [question(question=5)]}, {}, "'question' of .* is 5"),
        ({"questions": [question(question=" ")]}, {}, "'question' of .* is empty"),
        (ONE_QUESTION, {"questions": []}, "has no field 'annotations'"),
        (ONE_QUESTION, {"annotations": [{}]}, r"annotations\[0\] of .* has no field 'question_id'"),
        (ONE_QUESTION, {"annotations": [annotation(7, "x")]}, "annotates none of the questions"),
        (ONE_QUESTION, {"annotations": [{"question_id": 1}]}, "has no field 'answers'"),
        (ONE_QUESTION, {"annotations": [{"question_id": 1, "answers": []}]}, "'answers' of .* is empty"),
        (ONE_QUESTION, {"annotations": [{"question_id": 1, "answers": ["x"]}]}, "an answer of .* it must be an object"),
    ],
)
def test_an_error_names_the_wrong_field(tmp_path, questions, annotations, message):
    files = find_vqa_files(write(tmp_path / "data", questions, annotations))
    with pytest.raises(InputError, match=message):
        read_vqa(files)
