import json

import pytest

from recipes.florence_tiny.synthetic.dataset_export import export_datasets


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streets")
    export_datasets(folder, 9)
    return folder


def test_retrieval_is_measured(run, data):
    outcome = run("eval", "retrieval", data / "captions.json", "--model", "florence-tiny", "--limit", 6)
    assert outcome.code == 0 and "florence-tiny on 6 images, 30 captions" in outcome.out
    assert "text to image R@1" in outcome.out and "90.9%" in outcome.out
    record = run("eval", "retrieval", data / "captions.json", "--model", "florence-tiny", "--json").json
    assert record["counts"] == {"images": 9, "captions": 45}
    metric = record["metrics"]["text to image R@1"]
    assert 0.8 < metric["low"] <= metric["value"] <= metric["high"] <= 1
    assert {"data": "COCO, zero-shot", "metric": "text to image R@1", "value": 47.2} in record["florence_percent"]


def test_retrieval_of_videos_is_measured(run, data):
    arguments = ("--videos", data / "videos", "--model", "florence-tiny", "--frames", 4)
    outcome = run("eval", "retrieval", data / "msrvtt.csv", *arguments)
    assert outcome.code == 0 and "florence-tiny on 3 videos, 3 captions, 4 frames per video" in outcome.out
    assert "video to text median rank" in outcome.out and "37.6%" in outcome.out and "MSR-VTT" in outcome.out
    record = run("eval", "retrieval", data / "msrvtt.json", *arguments, "--limit", 2, "--captions", 3, "--json").json
    assert record["counts"] == {"videos": 2, "captions": 6, "frames per video": 4}


def test_questions_are_scored_and_answers_written(run, data, tmp_path):
    images = ("--images", data / "images", "--vqa", "florence-tiny", "--limit", 10)
    scored = ("--annotations", data / "annotations.json", "--answers", tmp_path / "answers.json")
    outcome = run("eval", "vqa", data / "questions.json", *scored, *images)
    assert outcome.code == 0 and "80.16%" in outcome.out and "10 questions" in outcome.out
    assert len(json.loads((tmp_path / "answers.json").read_text())) == 10
    folder = run("eval", "vqa", data, *images)
    assert folder.code == 0 and "10 questions" in folder.out
    nowhere = run("eval", "vqa", data / "questions.json", *images, "--answers", tmp_path / "gone" / "answers.json")
    assert nowhere.code == 1 and "there is no such folder" in nowhere.err
    refused = run("eval", "vqa", data / "questions.json", *images)
    assert refused.code == 2 and "--annotations" in refused.err


def test_classification_is_measured(run, data):
    outcome = run("eval", "classify", data / "classes", "--model", "florence-tiny")
    assert outcome.code == 0 and "9 images, 9 classes" in outcome.out and "83.7%" in outcome.out
    assert run("eval", "classify", data / "classes", "--model", "florence-tiny", "--json").json["metrics"]["top-5"]


def test_boxes_are_scored(run, data):
    arguments = (data / "instances.json", "--images", data / "images", "--detector", "florence-tiny")
    outcome = run("eval", "detect", *arguments, "--limit", 6)
    assert outcome.code == 0 and "6 images" in outcome.out and "AP50" in outcome.out and "62.4%" in outcome.out
    assert "6 images" in run("eval", "detect", data, *arguments[1:], "--limit", 6).out
    metrics = run("eval", "detect", *arguments, "--json").json["metrics"]
    assert metrics["AP50"]["low"] <= metrics["AP50"]["value"] and metrics["AR, 100 boxes"]["low"] is None


def test_relevance_needs_known_and_off_topic_queries(run, tmp_path):
    outcome = run("eval", "relevance", tmp_path, "--db", tmp_path / "a.db")
    assert outcome.code == 2 and "--off-topic" in outcome.err


def test_a_list_of_videos_needs_their_folder(run, data):
    outcome = run("eval", "retrieval", data / "msrvtt.csv", "--model", "florence-tiny")
    assert outcome.code == 2 and "--videos" in outcome.err


def test_actions_are_measured(run, data):
    arguments = (data / "actions.csv", "--videos", data / "actions", "--action-model", "florence-tiny", "--limit", 3)
    outcome = run("eval", "actions", *arguments)
    assert outcome.code == 0 and "3 clips, 11 classes" in outcome.out and "86.5%" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("retrieval", "gone.json"), "gone.json' does not exist"),
        (("retrieval", "instances.json"), "has no field 'split'"),
        (("retrieval", "captions.json", "--split", "val"), "has no split 'val'; it has test"),
        (("retrieval", "captions.json", "--videos", "videos"), "has no field 'videos'"),
        (
            ("retrieval", "msrvtt.csv", "--videos", "gone"),
            "is not a folder; give the folder of the videos with --videos",
        ),
        (("retrieval", "msrvtt.csv", "--videos", "images", "--model", "florence-tiny"), "none of the videos can be"),
        (("vqa", "questions.json", "--annotations", "captions.json"), "has no field 'annotations'"),
        (("classify", "gone"), "gone' does not exist"),
        (("classify", "classes", "--names", "captions.json"), "has no field"),
        (("detect", "captions.json"), "has no field 'id'"),
        (("retrieval", "captions.json", "--model", "florence-tiny", "--images", "gone"), "none of the images"),
    ],
)
def test_a_mistake_is_one_line(run, data, monkeypatch, arguments, message):
    monkeypatch.chdir(data)
    outcome = run("eval", *arguments)
    assert outcome.code == 1 and message in outcome.err.splitlines()[-1]
