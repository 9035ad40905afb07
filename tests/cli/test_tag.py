import pytest
from PIL import Image

from florence_rag.testing import color_frame


def test_images_are_tagged_by_labels(run, rag, photos):
    run("index", photos)
    outcome = run("tag", "--labels", "red,blue,pink")
    assert outcome.code == 0 and "red.png  red 1.00" in outcome.out and "green.png  unsure (" in outcome.out
    assert "2 tagged, 1 unsure, 0 by hand; not written" in outcome.out and "not calibrated" in outcome.out


def test_nothing_is_written_before_the_confidences_are_calibrated(run, rag, photos):
    run("index", photos)
    record = run("tag", "--labels", "red,blue,pink", "--apply", "--json").json
    assert not record["applied"] and [image["unsure"] for image in record["images"]] == [False, True, False]
    assert not any("tags" in hit.metadata for hit in rag.index.find())
    out = run("tag", "--labels", "red,blue,pink", "--apply").out
    assert "no tag is written before the confidences are calibrated" in out and "at least 10" in out


def test_calibrated_tags_are_written(run, rag, photos):
    for number in range(24):
        color = ("red", "blue", "green")[number % 3]
        Image.fromarray(color_frame(color, size_px=40 + number)).save(photos / f"{color}-{number}.png")
    run("index", photos, "--near-duplicates", "keep")
    for number in range(18):
        color = ("red", "blue", "green")[number % 3]
        run("tag", photos / f"{color}-{number}.png", "--as", "warm" if color == "red" else "cold")
    record = run("tag", "--apply", "--json").json
    assert record["applied"]
    assert any("tags_guessed" in hit.metadata for hit in rag.index.find())


def test_items_are_tagged_by_hand(run, rag, photos):
    run("index", photos)
    outcome = run("tag", photos / "red.png", rag.search("blue", k=1)[0].id, "--as", "fire, sea,fire")
    assert outcome.code == 0 and outcome.out == "2 images are tagged fire, sea\n"
    assert len(list(rag.index.find(filter={"metadata.tags": {"$has": "sea"}}))) == 2
    assert "2 by hand" in run("tag").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "--as", "a"), "neither the id"),
        (("x",), "needs both"),
        (("--as", "a"), "needs both"),
        ((), "no image has a tag yet"),
        (("--labels", ""), "label 1 of 1 is empty"),
        (("--labels", "a,a"), "given twice"),
        (("--labels", "a,b", "--threshold", "3"), "between 0 and 1"),
    ],
)
def test_a_mistake_is_one_line(run, photos, arguments, message):
    run("index", photos)
    outcome = run("tag", *arguments)
    assert outcome.code == 1 and message in outcome.err and outcome.err.count("\n") == 1
