import pytest


def test_images_are_tagged_by_labels_and_written_when_asked(run, rag, photos):
    run("index", photos)
    outcome = run("tag", "--labels", "red,blue,pink")
    assert outcome.code == 0 and "red.png  red 1.00" in outcome.out and "green.png  unsure (" in outcome.out
    assert "2 tagged, 1 unsure, 0 by hand; not written" in outcome.out and "not calibrated" in outcome.out
    record = run("tag", "--labels", "red,blue,pink", "--apply", "--json").json
    assert record["applied"] and [image["unsure"] for image in record["images"]] == [False, True, False]
    (hit,) = rag.index.find(filter={"metadata.tags": {"$has": "red"}})
    assert hit.source.endswith("red.png")


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
