import re

import pytest

from florence_rag.context import LazyValue
from florence_rag.loading.loaders import ACTION_RECOGNIZER
from florence_rag.loading.model_loader import load_model
from tests.ingest.test_moments import ColorRecognizer, write_film


@pytest.fixture
def film(tmp_path, rag, opened_with):
    rag.models.action_recognizer = LazyValue(ColorRecognizer)
    return write_film(tmp_path / "wall.mp4")


def test_moments_are_listed_with_their_times_and_links(run, film):
    assert run("index", film).code == 0
    outcome = run("moments", "the wall glows blue", "-k", 1)
    assert outcome.code == 0
    assert re.search(r"1\. \[2\.0 s, 4\.0 s\]  .*wall\.mp4", outcome.out)
    assert "the wall glows blue" in outcome.out
    assert re.search(r"file:///.*wall\.mp4#t=2,4", outcome.out.replace("\n", "").replace(" ", ""))


def test_json_has_start_end_and_link(run, film):
    run("index", film)
    (moment, *_) = run("moments", "the wall glows red", "--json").json["moments"]
    assert (moment["start_s"], moment["end_s"]) == pytest.approx((0.0, 2.0), abs=0.11)
    assert moment["link"].endswith("wall.mp4#t=0,2") and moment["metadata"]["action"] == "glows red"


def test_without_videos_it_says_so(run, photos):
    run("index", photos)
    outcome = run("moments", "anything")
    assert outcome.code == 0 and "are there videos in the database?" in outcome.out


def test_an_empty_text_is_one_line(run, film):
    run("index", film)
    outcome = run("moments", " ")
    assert outcome.code == 1 and outcome.err.count("\n") == 1


def test_index_is_told_what_recognizes(run, photos, opened_with):
    run("index", photos, "--action-model", "florence-tiny")
    assert opened_with[-1][1]["action_model"] == "florence-tiny"


def test_a_model_that_cannot_recognize_is_one_line(run, photos, monkeypatch, tmp_path):
    monkeypatch.undo()
    models = ("--model", "florence-tiny", "--action-model", "siglip2-base")
    outcome = run("index", photos, "--db", tmp_path / "x.db", *models)
    assert outcome.code == 1 and "'siglip2-base' lacks the role 'action'; models with it: florence-tiny" in outcome.err


def test_a_folder_without_a_network_is_one_line(tmp_path):
    from florence_rag.errors import ModelError

    with pytest.raises(ModelError):
        load_model(ACTION_RECOGNIZER, str(tmp_path))
