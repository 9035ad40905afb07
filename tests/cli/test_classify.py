import pytest
from PIL import Image

from florence_rag.loading.loaders import EMBEDDER
from florence_rag.testing import ColorEmbedder, color_frame
from tests.loading.stand_ins import stand_in


@pytest.fixture
def embedder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    stand_in(monkeypatch, EMBEDDER, lambda card, loader: ColorEmbedder())


@pytest.fixture
def data(tmp_path):
    for label, colors in {"warm": ("red", "orange"), "cold": ("blue", "green")}.items():
        (tmp_path / "data" / label).mkdir(parents=True)
        for color in colors:
            Image.fromarray(color_frame(color)).save(tmp_path / "data" / label / f"{color}.png")
    return tmp_path / "data"


def test_images_are_classified_by_labels_without_a_database(run, embedder, data):
    outcome = run("classify", "apply", data / "warm" / "red.png", "--labels", "blue, red")
    assert outcome.code == 0 and outcome.out.startswith("red 1.00  data/warm/red.png  (blue 0.00)")
    (record,) = run("classify", "apply", data / "warm" / "red.png", "--labels", "blue,red", "--json").json["images"]
    assert record["label"] == "red" and record["source"].endswith("red.png")


def test_a_classifier_is_trained_and_applied(run, embedder, data, tmp_path):
    (data / "cold" / "damaged.png").write_text("no image")
    outcome = run("classify", "train", data, "--name", "climate", "--db", "photos.db")
    assert outcome.code == 0 and (tmp_path / "photos.classifiers/florence/climate.safetensors").is_file()
    assert "failed data/cold/damaged.png" in outcome.out and "cold 2, warm 2" in outcome.out
    applied = run("classify", "apply", data / "cold" / "blue.png", "--probe", "climate", "--db", "photos.db")
    assert applied.out.startswith("cold ")
    record = run("classify", "train", data, "--name", "climate", "--db", "photos.db", "--json").json
    assert record["examples"] == {"cold": 2, "warm": 2} and len(record["failed"]) == 1


def test_all_images_of_a_database_are_classified(run, photos):
    run("index", photos)
    found = run("classify", "apply", "--labels", "red,blue,green", "--json").json["images"]
    assert sorted(each["label"] for each in found) == ["blue", "green", "red"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--labels", "red"), "fewer than two"),
        (("--labels", "red,,blue"), "label 2 of 3 is empty"),
        (("--labels", "red,red"), "given twice"),
        ((), "give either labels"),
        (("--probe", "none"), "there is no classifier 'none'"),
        (("--labels", "a,b", "--filter", "x"), "--filter chooses"),
    ],
)
def test_a_mistake_is_one_line(run, embedder, data, arguments, message):
    outcome = run("classify", "apply", data / "warm" / "red.png", *arguments)
    assert outcome.code == 1 and message in outcome.err and outcome.err.count("\n") == 1


def test_unreadable_files_alone_are_an_error(run, embedder, tmp_path):
    outcome = run("classify", "apply", tmp_path / "gone.png", "--labels", "red,blue")
    assert outcome.code == 1 and "gone.png" in outcome.err and "none of the images" in outcome.err
