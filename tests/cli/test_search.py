"""florence-rag search, ask, moments and recommend."""

import base64
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from florence_rag.context import LazyValue, Models
from florence_rag.perception.base import Detection
from florence_rag.rag import FlorenceRAG
from florence_rag.retrieval import relevance
from florence_rag.retrieval.relevance import Calibration
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from tests.cli.stand_ins import use_color_models
from tests.ingest.test_moments import ColorRecognizer, write_colors


class LeftHalf:
    def detect(self, frames):
        return [
            [Detection("car", (0.0, 0.0, 0.5, 1.0), 0.875), Detection("dog", (0.5, 0.25, 1.0, 1.0))] for _ in frames
        ]


@pytest.fixture
def video(tmp_path, rag, opened_with):
    rag.models.action_recognizer = LazyValue(ColorRecognizer)
    return write_colors(tmp_path / "wall.mp4")


def test_search_by_text_prints_the_best_hit_first(run, photos):
    run("index", photos)
    lines = run("search", "a blue thing", "-k", "2").out.splitlines()
    assert lines[0].split()[0] == "1"
    assert lines[0].endswith("blue.png")
    assert "visual similarity" in lines[1]


def test_search_json_holds_the_hits(run, photos):
    run("index", photos)
    outcome = run("search", "a blue thing", "--json")
    assert outcome.out.count("\n") == 1
    hits = outcome.json["hits"]
    assert hits[0].keys() >= {"id", "kind", "source", "score", "locator", "text", "explanation"}
    assert Path(hits[0]["source"]).name == "blue.png"


def test_search_by_image_and_by_image_and_text(run, photos, tmp_path):
    run("index", photos)
    query = tmp_path / "query.png"
    Image.fromarray(color_frame("green")).save(query)
    assert Path(run("search", "--image", query, "--json").json["hits"][0]["source"]).name == "green.png"
    both = run("search", "red", "--image", query, "-k", "2", "--kind", "image", "--json").json["hits"]
    assert {Path(hit["source"]).name for hit in both} == {"green.png", "red.png"}


def test_kinds_narrow_the_search(run, photos):
    run("index", photos)
    hits = run("search", "the red bakery", "--kind", "text", "--kind", "page", "--json").json["hits"]
    assert {hit["kind"] for hit in hits} == {"text"}


def test_a_filter_may_be_a_json_object(run, photos):
    run("index", photos)
    found = run("search", "red", "--filter", '{"$not": {"source": {"$contains": ".png"}}}', "--json").json["hits"]
    assert found and not any(hit["source"].endswith(".png") for hit in found)


@pytest.mark.parametrize(
    ("filter", "problem"),
    [
        ('{"year": {"$near": 1}}', 'filter["year"]["$near"] is not an operator'),
        ('{"year": ', "is not JSON"),
        ('{"$or": 1}', "must be a list of filters"),
    ],
)
def test_a_wrong_filter_is_refused_before_a_model_is_loaded(run, filter, problem):
    outcome = run("search", "red", "--filter", filter, "--db", "missing.db")
    assert outcome.code == 2
    assert problem in " ".join(outcome.err.replace("│", " ").split())


def test_an_expression_is_passed_on_as_it_is(run, photos):
    run("index", photos)
    outcome = run("search", "red", "--filter", "start_s >= 10")
    assert outcome.code == 1
    assert "'start_s >= 10'" in outcome.err


def test_search_says_when_nothing_is_found(run, photos):
    run("index", photos / "notes.txt")
    assert run("search", "red", "--kind", "clip").out.strip() == "Nothing found."


def test_search_draws_heat_maps_of_the_images_it_finds(run, photos, tmp_path):
    Image.fromarray(color_frame("blue", "red")).save(photos / "both.png")
    run("index", photos)
    outcome = run("search", "a red thing at seven", "--explain", tmp_path / "why" / "red", "--json")
    hits, drawn = outcome.json["hits"], outcome.json["heat_maps"]
    assert drawn.keys() == {hit["id"] for hit in hits if hit["kind"] == "image"} and "text" in {h["kind"] for h in hits}
    both = next(hit["id"] for hit in hits if hit["source"].endswith("both.png"))
    with Image.open(drawn[both]) as image:
        assert image.getpixel((2, 24)) == (0, 0, 255) != image.getpixel((40, 24))
        assert image.getpixel((40, 24))[1] > 50  # warmed, which red alone is not
    assert run("search", "red").code == 0 and "heat_maps" not in run("search", "red", "--json").json


def test_a_file_that_is_gone_has_no_heat_map(run, photos, tmp_path):
    run("index", photos)
    (photos / "red.png").unlink()
    outcome = run("search", "red", "-k", "2", "--explain", tmp_path / "why", "--kind", "image", "--json")
    assert len(outcome.json["heat_maps"]) == 1 and "no heat map of hit 1: " in outcome.err


def test_search_draws_a_contact_sheet(run, photos, tmp_path):
    run("index", photos)
    sheet = tmp_path / "sheet.png"
    assert run("search", "blue", "--contact-sheet", sheet).code == 0
    with Image.open(sheet) as image:
        assert image.width > 480


def test_a_sheet_that_cannot_be_written_is_one_line(run, photos, tmp_path):
    run("index", photos)
    outcome = run("search", "blue", "--contact-sheet", tmp_path / "missing" / "sheet.png")
    assert outcome.code == 1
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1


def test_ask_about_an_item_by_its_id(run, rag, photos):
    rag.items.upsert_images([photos / "blue.png"], ids=["sky"])
    assert run("ask", "What color is it?", "--image", "sky", "--json").json["answer"] == "blue"


def test_hits_are_printed_even_if_their_sheet_cannot_be_drawn(run, photos, tmp_path, monkeypatch):
    def fail(rows):
        raise ValueError("no space\nleft")

    run("index", photos)
    monkeypatch.setattr("florence_rag.viz.contact_sheet.draw_sheet", fail)
    for command in (("search", "blue"), ("recommend", "blue")):
        outcome = run(*command, "--contact-sheet", tmp_path / "sheet.png", "--json")
        assert outcome.code == 1 and outcome.json["hits"]
        assert outcome.err.endswith("sheet.png' could not be drawn: no space left\n")


def test_kinds_are_separated_by_commas_or_repeated(run, photos):
    run("index", photos)
    for kinds in (("--kind", "image,text"), ("--kind", "image", "--kind", "text"), ("--kind", " image , text")):
        hits = run("search", "the red bakery", *kinds, "--json").json["hits"]
        assert {hit["kind"] for hit in hits} == {"image", "text"}
    for wrong in ("image,photo", "image,", ""):
        outcome = run("search", "red", "--kind", wrong)
        assert outcome.code == 2 and "is not one of image, page, clip, text" in " ".join(outcome.err.split())


def test_an_image_to_search_with_may_be_a_url_or_a_data_uri(run, photos):
    run("index", photos)
    red = photos / "red.png"
    for image in (red.as_uri(), f"data:image/png;base64,{base64.b64encode(red.read_bytes()).decode()}"):
        assert run("search", "--image", image, "--json").json["hits"][0]["source"] == str(red)
        assert run("ask", "What color is it?", "--image", image, "--json").json["answer"] == "red"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search",), "nothing to search for"),
        (("search", " "), "the query is empty"),
        (("search", "red", "-k", 0), "greater than or equal to 1"),
        (("search", "red", "-k", 20000), "less than or equal to 16384"),
        (("search", "red", "--kind", "photo"), "'photo' is not one of"),
        (("search", "--image", "gone.png"), "'gone.png' cannot be opened"),
        (("search", "--image", "data:image/png;base64,%"), "not valid base64"),
        (("search", "--unlike", "red"), "nothing to search for"),
        (("search", "red", "--box", "0,0,1,1"), "a box is a part of an image"),
        (("search", "--image", "{photo}", "--box", "0,0,2,1"), "give 0 <= left"),
        (("search", "--image", "{photo}", "--box", "a"), "--box is 'a'"),
        (("search", "red", "--contact-sheet", "gone/sheet.png"), "cannot be written"),
        (("search", "red", "--contact-sheet", "."), "has no suffix of an image"),
        (("search", "red", "--contact-sheet", "sheet.txt"), "has no suffix of an image"),
        (("search", "red", "--filter", "nonsense ==="), "filter"),
        (("moments", ""), "the query is empty"),
        (("ask", " "), "question"),
        (("ask", "why?", "--image", "gone.png"), "'gone.png' cannot be opened"),
        (("ask", "why?", "--filter", "nonsense ==="), "filter"),
        (("recommend", "red", "--diversity", 2), "between 0 and 1"),
        (("recommend", "red", "--contact-sheet", "gone/sheet.png"), "cannot be written"),
        (("detect", "gone.png"), "none of the images can be read"),
        (("detect", "{photo}", "--draw", "{photo}/drawn"), "is a file or read-only"),
        (("describe", "gone.png"), "none of the images can be read"),
        (("classify", "apply", "gone.png", "--labels", "a,b"), "none of the images can be read"),
        (("classify", "apply", "--labels", "a"), "fewer than two"),
        (("classify", "apply"), "give either labels"),
        (("classify", "train", "gone", "--name", "x"), "gone"),
        (("tag", "--threshold", 2), "between 0 and 1"),
        (("tag", "--labels", "a"), "fewer than two"),
        (("index", "gone"), "'gone' does not exist"),
        (("index", "{folder}", "--db", "{photo}/x.db"), "is a file or read-only"),
        (("index", "{folder}", "--db", "photos"), "is not a database"),
        (("watch", "gone"), "'gone' does not exist"),
        (("demo", "{photo}"), "is a file or read-only"),
        (("export", "{photo}"), "is a file or read-only"),
        (("reembed", "--to", "florence-tiny", "--queries", "gone.txt"), "'gone.txt' cannot be read"),
        (("eval", "classify", "{folder}", "--probe", "gone.safetensors"), "there is no classifier"),
        (("train", "unicl", "{folder}", "--out", "{photo}/model"), "is a file or read-only"),
    ],
)
def test_wrong_arguments_are_reported_before_a_model_is_loaded(run, tmp_path, monkeypatch, arguments, message):
    use_color_models(monkeypatch)
    monkeypatch.chdir(tmp_path)
    folder, photo = tmp_path / "photos", tmp_path / "photos" / "red.png"
    folder.mkdir()
    Image.fromarray(color_frame("red")).save(photo)
    run("index", folder, "--db", "florence.db")

    def load(*_, **__):
        raise AssertionError("a model was loaded")

    for name in ("loading.model_loader.load_model", "loading.index_models.load_model", "loading.database.load_models"):
        monkeypatch.setattr(f"florence_rag.{name}", load, raising=False)
    outcome = run(*(str(each).format(photo=photo, folder=folder) for each in arguments))
    assert outcome.code in (1, 2)
    assert message in " ".join(outcome.err.replace("│", " ").split())


def test_ask_answers_with_confidence_and_citations(run, photos):
    run("index", photos)
    outcome = run("ask", "What is blue?", "--kind", "image", "--json")
    assert outcome.json.keys() >= {"answer", "confidence", "citations"}
    assert outcome.json["answer"] == "blue"
    assert Path(outcome.json["citations"][0]["source"]).name == "blue.png"
    out = run("ask", "What is blue?", "--kind", "image").out
    assert out.startswith("blue  confidence ")
    assert "blue.png" in out


def test_ask_quotes_a_passage(run, photos):
    run("index", photos)
    assert "“The bakery opens at seven in the morning.”" in run("ask", "When does the bakery open?").out


def test_ask_about_one_image(run, photos):
    outcome = run("ask", "What color is this?", "--image", photos / "green.png", "--json")
    assert outcome.json["answer"] == "green"


def test_search_by_a_part_of_an_image(run, photos):
    run("index", photos)
    box = ("--image", photos / "red.png", "--box")
    assert run("search", *box, "0,0,0.5,0.5", "-k", 1, "--json").json["hits"][0]["source"].endswith("red.png")
    outcome = run("search", *box, "0,0,0.5")
    assert outcome.code == 1 and "fractions of width" in outcome.err


def test_search_by_examples_with_regions_and_weights(run, photos):
    run("index", photos)
    top = ("-k", 1, "--json")
    left = run("search", "--like", f"{photos / 'red.png'}@0,0,0.5,0.5^2", "--like", "blue^0.1", *top)
    assert left.json["hits"][0]["source"].endswith("red.png")
    unlike = run("search", "red or blue", "--unlike", "red", *top)
    assert unlike.json["hits"][0]["source"].endswith("blue.png")


def test_regions_are_listed_by_their_boxes_and_labels(run, opened_with, monkeypatch, tmp_path):
    models = Models.of(ColorEmbedder(), detector=LeftHalf())
    rag = FlorenceRAG(MemoryIndex(ColorEmbedder.info), models, index_regions=True)
    monkeypatch.setattr(FlorenceRAG, "open", lambda *arguments, **options: rag)
    Image.fromarray(color_frame("red", "blue", size_px=64)).save(tmp_path / "both.png")
    run("index", tmp_path)
    out = run("search", "red", "-k", 1).out
    assert "both.png, box 0.00 0.00 0.50 1.00" in out and "image of car, relevance" in out
    assert "at box 0.50 0.25 1.00 1.00" in out and "as a whole" in out


def test_a_box_without_numbers_is_a_usage_error(run, photos):
    outcome = run("search", "--image", photos / "red.png", "--box", "left")
    assert outcome.code == 2 and "give fractions" in outcome.err


def test_moments_are_listed_with_their_times_and_links(run, video):
    assert run("index", video).code == 0
    outcome = run("moments", "the wall glows blue", "-k", 1)
    assert outcome.code == 0
    assert re.search(r"1\. \[2\.0 s, 4\.0 s\]  .*wall\.mp4", outcome.out)
    assert "the wall glows blue" in outcome.out
    assert re.search(r"file:///.*wall\.mp4#t=2,4", outcome.out.replace("\n", "").replace(" ", ""))


def test_json_has_start_end_and_link(run, video):
    run("index", video)
    (moment, *_) = run("moments", "the wall glows red", "--json").json["moments"]
    assert (moment["start_s"], moment["end_s"]) == pytest.approx((0.0, 2.0), abs=0.11)
    assert moment["link"].endswith("wall.mp4#t=0,2") and moment["metadata"]["action"] == "glows red"


def test_moments_asks_for_videos_if_there_are_none(run, photos):
    run("index", photos)
    outcome = run("moments", "anything")
    assert outcome.code == 0 and "are there videos in the database?" in outcome.out


def test_an_empty_text_is_one_line(run, video):
    run("index", video)
    outcome = run("moments", " ")
    assert outcome.code == 1 and outcome.err.count("\n") == 1


def test_recommend_finds_more_of_what_is_liked(run, photos):
    run("index", photos)
    outcome = run("recommend", photos / "red.png", "--kind", "image", "-k", 5)
    assert outcome.code == 0 and "red.png, " not in outcome.out and "blue.png" in outcome.out
    record = run("recommend", "red", "--dislike", "green", "--seen", photos / "blue.png", "--kind", "image", "--json")
    assert [hit["source"].rpartition("/")[2] for hit in record.json["hits"]] == ["red.png", "green.png"]


def test_a_contact_sheet_of_recommendations_is_drawn(run, photos, tmp_path):
    run("index", photos)
    assert run("recommend", "red", "--kind", "image", "--contact-sheet", tmp_path / "sheet.png").code == 0
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_a_mistake_of_recommend_is_one_line(run, photos):
    run("index", photos)
    for arguments, message in ((("gone.jpg",), "gone.jpg"), (("red", "--diversity", 2), "between 0")):
        outcome = run("recommend", *arguments)
        assert outcome.code == 1 and message in outcome.err and outcome.err.count("\n") == 1


def test_hits_show_their_relevance_if_it_is_known(run, photos, monkeypatch):
    kinds = dict.fromkeys(("image", "page", "clip", "text"), Calibration(10.0, 0.0, 0.0, -5.0, 0.0, 0.1))
    monkeypatch.setattr(relevance, "_calibrations", lambda: {ColorEmbedder().info.fingerprint: kinds})
    run("index", photos)
    out = run("search", "a blue thing", "--min-relevance", "0.9").out
    assert "image, relevance 0.99" in out
    assert "red.png" not in out
    nothing = run("search", "a blue thing", "--min-relevance", "1").out
    assert "Nothing found: 4 hits have less than the relevance 1; the best has 0.99." in nothing
    by_image = run("search", "--image", photos / "blue.png", "--min-relevance", "1")
    assert (by_image.code, by_image.err) == (0, "") and "hits have less than the relevance 1" in by_image.out


def test_ask_says_what_is_not_relevant(run, photos, monkeypatch):
    kinds = dict.fromkeys(("image", "page", "clip", "text"), Calibration(10.0, 0.0, 0.0, -5.0, 0.0, 0.1))
    monkeypatch.setattr(relevance, "_calibrations", lambda: {ColorEmbedder().info.fingerprint: kinds})
    run("index", photos)
    out = run("ask", "Is there a blue thing?", "--min-relevance", "1").out
    assert "Nothing relevant was found" in out and "not relevant enough:" in out and "blue.png" in out
    assert "relevance 0.99" in out
    looked_up = json.loads(run("ask", "a blue thing", "--json").out)
    assert looked_up["status"] == "not_a_question" and looked_up["citations"][0]["source"].endswith("blue.png")
    failed = run("ask", "Is there a blue thing?", "--min-relevance", "2")
    assert failed.code == 1 and "min_relevance must be a number from 0 to 1" in failed.err
