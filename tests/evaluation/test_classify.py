import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from florence_rag.cli.app import app
from florence_rag.datasets.images import read_labeled_images
from florence_rag.datasets.videos import read_kinetics, read_labeled_videos
from florence_rag.errors import InputError
from florence_rag.evaluation.classify import evaluate_actions, evaluate_classify, top_k_accuracy
from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.models.video_coswin import VideoCoSwinForVideoClassification
from florence_rag.tasks.classifier import ZeroShotClassifier
from florence_rag.testing import ColorEmbedder, color_frame
from recipes.florence_tiny.synthetic.clips import write_mp4
from tests.models import tiny


@pytest.fixture
def data(tmp_path):
    """Three red images, one of which is labeled blue, and one blue image."""
    for label, color, number in (("red", "red", 1), ("red", "red", 2), ("blue", "red", 3), ("blue", "blue", 4)):
        (tmp_path / label).mkdir(exist_ok=True)
        Image.fromarray(color_frame(color)).save(tmp_path / label / f"{number}.png")
    return tmp_path


def zero_shot(images):
    return ZeroShotClassifier(ColorEmbedder(), sorted({image.label for image in images}))


def test_a_hand_made_case():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.2, 0.4, 0.4]])
    assert top_k_accuracy(probabilities, np.array([0, 1, 2]), 1).tolist() == [1, 0, 0.5]
    assert top_k_accuracy(probabilities, np.array([0, 1, 2]), 2).tolist() == [1, 1, 1]


@given(st.integers(2, 20), st.integers(1, 20))
def test_a_constant_classifier_scores_as_guessing_does(count, top):
    assert top_k_accuracy(np.ones((1, count)), np.array([0]), top) == pytest.approx(min(top / count, 1))


@given(st.integers(0, 2**32 - 1))
def test_accuracy_rises_with_k_to_one(seed):
    rng = np.random.default_rng(seed)
    probabilities, label = rng.random((8, 5)), rng.integers(5, size=8)
    tops = [top_k_accuracy(probabilities, label, top) for top in range(1, 6)]
    assert (np.diff(tops, axis=0) >= 0).all() and (tops[-1] == 1).all()
    assert (tops[0] == (probabilities.argmax(axis=1) == label)).all()


def test_metrics_of_a_data_set(data):
    images = read_labeled_images(data)
    report = evaluate_classify(images, zero_shot(images), ColorEmbedder())
    assert report.counts == {"images": 4, "classes": 2}
    assert [metric.name for metric in report.metrics] == ["top-1", "top-1, mean over classes"]
    assert report["top-1"].value == 0.75 and report["top-1, mean over classes"].value == (1 + 0.5) / 2


def test_each_class_has_the_same_weight_in_the_mean(data):
    (data / "blue" / "4.png").unlink()
    images = read_labeled_images(data)
    report = evaluate_classify(images, zero_shot(images), ColorEmbedder())
    assert report["top-1"].value == pytest.approx(2 / 3) and report["top-1, mean over classes"].value == 0.5


def test_damaged_images_are_reported_and_unknown_labels_refused(data):
    (data / "red" / "1.png").write_text("no image")
    images = read_labeled_images(data)
    report = evaluate_classify(images, zero_shot(images), ColorEmbedder())
    assert report.counts["images"] == 3 and report.failed[0].source.endswith("1.png")
    with pytest.raises(InputError, match="does not know the label 'blue'; it knows green, red"):
        evaluate_classify(images, ZeroShotClassifier(ColorEmbedder(), ["green", "red"]), ColorEmbedder())


def test_the_tiny_model_classifies_synthetic_scenes(scenes):
    from florence_rag.loading.loaders import EMBEDDER
    from florence_rag.loading.model_loader import load_model

    images, embedder = read_labeled_images(scenes / "classes"), load_model(EMBEDDER, "florence-tiny")
    labels = sorted({image.label for image in images})
    report = evaluate_classify(images, ZeroShotClassifier(embedder, labels), embedder)
    assert report["top-1"].value > 0.7 and report["top-5"].value > 0.9 and len(labels) == 9


HEADER = "label,youtube_id,time_start,time_end,split\n"


class ByColor:
    """Classifies a clip by the color of its middle frame, red or blue, and records the lengths of clips."""

    labels = ("to blush", "to cool")
    fps = 4.0

    def __init__(self):
        self.lengths = []

    def classify(self, frames):
        self.lengths.append(len(frames))
        red, _, blue = frames[len(frames) // 2].mean(axis=(0, 1))
        return [("to blush", 0.9), ("to cool", 0.1)] if red > blue else [("to cool", 0.9), ("to blush", 0.1)]


def write_video(path, *colors):
    """Write a second of each color."""
    images = [Image.fromarray(color_frame(color, size_px=64)) for color in colors for _ in range(8)]
    write_mp4(path, images, 8, (64, 64))


@pytest.fixture
def clips(tmp_path):
    """A list of a.mp4, a whole video that is red and then blue, a clip that was cut out of b, and a missing video c."""
    write_video(tmp_path / "a.mp4", "red", "red", "blue", "blue")
    (tmp_path / "cooling").mkdir()
    write_video(tmp_path / "cooling" / "b_000010_000012.mp4", "blue", "blue")
    rows = [
        "to blush,a,0,2,val",
        "to cool,a,2,4,val",
        "to blush,b,10,12,val",
        "to cool,c,0,9,val",
        "to cool,a,0,4,train",
    ]
    (tmp_path / "list.csv").write_text(HEADER + "\n".join(rows) + "\n")
    return tmp_path / "list.csv"


def test_metrics_of_a_kinetics_list(clips):
    model = ByColor()
    report = evaluate_actions(read_kinetics(clips, split="val"), model, "by color")
    assert report.counts == {"clips": 3, "classes": 2} and model.lengths == [8, 8, 8]
    assert report["top-1"].value == pytest.approx(2 / 3) and len(report.metrics) == 1
    assert [(failure.source, failure.reason) for failure in report.failed] == [("c from 0 s", "there is no such video")]
    assert report.to_dict()["florence_percent"][0]["value"] == 86.5


def test_damaged_videos_and_clips_after_the_end_are_reported(clips):
    (clips.parent / "cooling" / "b_000010_000012.mp4").write_bytes(b"no video")
    clips.write_text(clips.read_text() + "to cool,a,50,60,val\n")
    report = evaluate_actions(read_kinetics(clips, split="val"), ByColor(), "by color")
    assert [failure.source for failure in report.failed] == ["b from 10 s", "c from 0 s", "a from 50 s"]
    assert report["top-1"].value == 1


def test_whole_videos_are_measured_in_a_folder_for_each_class(tmp_path):
    for label, color in (("to blush", "red"), ("to cool", "blue")):
        (tmp_path / label).mkdir()
        write_video(tmp_path / label / "a.mp4", color, color)
    model = ByColor()
    report = evaluate_actions(read_labeled_videos(tmp_path), model, "by color")
    assert report["top-1"].value == 1 and model.lengths == [8, 8]


def test_nothing_readable_and_unknown_labels_are_errors(clips, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="none of the clips can be read: a from 0 s: there is no such video"):
        evaluate_actions(read_kinetics(clips, tmp_path / "empty"), ByColor(), "by color")
    clips.write_text(HEADER + "to fly,a,0,1,val\n")
    with pytest.raises(InputError, match="by color does not know the label 'to fly'; it knows to blush, to cool"):
        evaluate_actions(read_kinetics(clips), ByColor(), "by color")
    with pytest.raises(InputError, match="is not a folder"):
        read_kinetics(clips, clips.parent / "gone")


def test_actions_are_measured_in_the_command_line(clips):
    """A network with random weights gives one of its labels."""
    folder = clips.parent / "mine" / "video"
    torch.manual_seed(0)
    VideoCoSwinForVideoClassification(tiny.video(id2label=dict(enumerate(ByColor.labels)))).save_pretrained(folder)
    FlorenceImageProcessor(size=32, fit="squash", enlarge=1.0).save_pretrained(folder)
    arguments = ["eval", "actions", str(clips), "--action-model", str(folder.parent), "--split", "val"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0 and "mine on 3 clips, 2 classes" in outcome.stdout and "86.5%" in outcome.stdout
