import pytest
import torch
from PIL import Image

from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.models.video_coswin import VideoCoSwinForVideoClassification
from florence_rag.testing import color_frame
from tests.finetuning.test_actions import write_clip
from tests.models import tiny


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for color in ("red", "blue"):
        (tmp_path / "data" / color).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(color_frame(color)).save(tmp_path / "data" / color / f"{number}.png")
    (tmp_path / "data" / "red" / "damaged.png").write_text("no image")
    return tmp_path / "data"


def test_an_embedder_is_trained_and_reported(run, data, tmp_path):
    few = ("--steps", 2, "--batch", 4, "--out", "mine", "--prompt", "a {} image")
    outcome = run("train", "unicl", data, *few)
    assert outcome.code == 0 and "failed data/red/damaged.png" in outcome.out
    assert "Trained on " in outcome.out and "zero-shot top-1: " in outcome.out
    assert "florence-rag index PATH --model mine" in outcome.out
    record = run("train", "unicl", data, *few, "--json").json
    assert record["part"] == "florence" and record["steps"] == 2 and len(record["failed"]) == 1
    applied = run(
        "classify", "apply", data / "red" / "0.png", "--labels", "red,blue", "--model", "mine", "--db", "a.db"
    )
    assert applied.code == 0 and applied.out


def test_an_action_model_is_trained_and_reported(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    VideoCoSwinForVideoClassification(tiny.video()).save_pretrained("start/video")
    FlorenceImageProcessor(size=32, fit="squash", enlarge=1.0).save_pretrained("start/video")
    for label in ("rises", "sinks"):
        for i in range(3):
            write_clip(tmp_path / "data" / label / f"{i}.mp4", label)
    few = ("--steps", 2, "--batch", 4, "--base-model", "start", "--idle", "sinks", "--window", 1)
    outcome = run("train", "actions", "data", *few, "--out", "mine")
    assert outcome.code == 0 and "labels: 2: rises, sinks" in outcome.out and "top-1: " in outcome.out
    assert "florence-rag index PATH --action-model mine" in outcome.out
    config = VideoCoSwinForVideoClassification.from_pretrained("mine/video").config
    assert (config.idle, config.window_s) == ("sinks", 1.0)


def test_all_trainers_have_the_same_options(run):
    for name in ("unicl", "vqa", "detect", "actions"):
        shown = run("train", name, "--help").out
        options = ("--base-model", "--steps", "--precision", "--seed", "--offline", "--json")
        assert all(option in shown for option in options)
    assert run("train", "actions", "data").code == 2 and run("train", "vqa", "--out", "m", "--steps", "0").code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("unicl", "gone", "--out", "m"), "gone'"),
        (("unicl", "data/red", "--out", "m"), "has no examples"),
        (("unicl", "data", "--out", "m", "--prompt", "a photo"), "needs {} once"),
        (("unicl", "data", "--out", "m", "--base-model", "nothing"), "no model 'nothing'"),
        (("unicl", "data", "--out", "m", "--validation", "0.9"), "validation is 0.9"),
        (("vqa", "data", "--out", "m"), "there is no file *questions*.json"),
        (("actions", "data", "--out", "m"), "has no labeled videos; give a folder with a folder of videos"),
        (("actions", "data", "--out", "m", "--base-model", "siglip2-base"), "lacks the role 'action'"),
        (("vqa", "--out", "m"), "give a folder with questions, annotations and images"),
    ],
)
def test_a_mistake_is_one_line(run, data, arguments, message):
    outcome = run("train", *arguments)
    assert outcome.code == 1 and message in outcome.err and outcome.err.count("\n") == 1
