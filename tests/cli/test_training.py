import pytest
from PIL import Image

from florence_rag.testing import colour_frame


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for colour in ("red", "blue"):
        (tmp_path / "data" / colour).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(colour_frame(colour)).save(tmp_path / "data" / colour / f"{number}.png")
    (tmp_path / "data" / "red" / "damaged.png").write_text("no picture")
    return tmp_path / "data"


def test_a_tower_is_trained_and_told_of(run, data, tmp_path):
    few = ("--steps", 2, "--batch", 4, "--out", "mine", "--prompt", "a {} picture")
    outcome = run("train", "unicl", data, *few)
    assert outcome.code == 0 and "failed data/red/damaged.png" in outcome.out
    assert "Learned from " in outcome.out and "zero-shot top-1: " in outcome.out
    assert "florence-rag index PATH --model mine" in outcome.out
    record = run("train", "unicl", data, *few, "--json").json
    assert record["part"] == "florence" and record["steps"] == 2 and len(record["failed"]) == 1
    applied = run(
        "classify", "apply", data / "red" / "0.png", "--labels", "red,blue", "--model", "mine", "--db", "a.db"
    )
    assert applied.code == 0 and applied.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("unicl", "gone", "--out", "m"), "'gone' is no data set"),
        (("unicl", "data/red", "--out", "m"), "has no labelled pictures"),
        (("unicl", "data", "--out", "m", "--prompt", "a photo"), "needs {} once"),
        (("unicl", "data", "--out", "m", "--from", "nothing"), "no model 'nothing'"),
        (("unicl", "data", "--out", "m", "--validation", "0.9"), "validation is 0.9"),
        (("meter", "data", "--out", "m"), "there is no file *questions*.json"),
        (("meter", "--out", "m"), "give a folder with questions, annotations and pictures"),
    ],
)
def test_a_mistake_is_one_line(run, data, arguments, message):
    outcome = run("train", *arguments)
    assert outcome.code == 1 and message in outcome.err and outcome.err.count("\n") == 1
