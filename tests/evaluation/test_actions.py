import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from florence_rag.cli.app import app
from florence_rag.datasets.videos import read_kinetics, read_labeled_videos
from florence_rag.errors import InputError
from florence_rag.evaluation.actions import evaluate_actions
from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.models.video_coswin import VideoCoSwinForVideoClassification
from florence_rag.testing import color_frame
from recipes.florence_tiny.synthetic.clips import write_mp4
from tests.models import tiny

HEADER = "label,youtube_id,time_start,time_end,split\n"


class ByColor:
    """Classifies a clip by the color of its middle frame, red or blue, and records the lengths of clips."""

    labels = ("to blush", "to cool")
    rate_hz = 4.0

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
def data(tmp_path):
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


def test_metrics_of_a_kinetics_list(data):
    model = ByColor()
    report = evaluate_actions(read_kinetics(data, split="val"), model, "by color")
    assert report.counts == {"clips": 3, "classes": 2} and model.lengths == [8, 8, 8]
    assert report["top-1"].value == pytest.approx(2 / 3) and len(report.metrics) == 1
    assert [(failure.source, failure.reason) for failure in report.failed] == [("c from 0 s", "there is no such video")]
    assert report.to_dict()["florence_percent"][0]["value"] == 86.5


def test_damaged_videos_and_clips_after_the_end_are_reported(data):
    (data.parent / "cooling" / "b_000010_000012.mp4").write_bytes(b"no video")
    data.write_text(data.read_text() + "to cool,a,50,60,val\n")
    report = evaluate_actions(read_kinetics(data, split="val"), ByColor(), "by color")
    assert [failure.source for failure in report.failed] == ["b from 10 s", "c from 0 s", "a from 50 s"]
    assert report["top-1"].value == 1


def test_whole_videos_are_measured_in_a_folder_for_each_class(tmp_path):
    for label, color in (("to blush", "red"), ("to cool", "blue")):
        (tmp_path / label).mkdir()
        write_video(tmp_path / label / "a.mp4", color, color)
    model = ByColor()
    report = evaluate_actions(read_labeled_videos(tmp_path), model, "by color")
    assert report["top-1"].value == 1 and model.lengths == [8, 8]


def test_nothing_readable_and_unknown_labels_are_errors(data, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="none of the clips can be read: a from 0 s: there is no such video"):
        evaluate_actions(read_kinetics(data, tmp_path / "empty"), ByColor(), "by color")
    data.write_text(HEADER + "to fly,a,0,1,val\n")
    with pytest.raises(InputError, match="by color does not know the label 'to fly'; it knows to blush, to cool"):
        evaluate_actions(read_kinetics(data), ByColor(), "by color")
    with pytest.raises(InputError, match="is not a folder"):
        read_kinetics(data, data.parent / "gone")


def test_actions_are_measured_in_the_command_line(data):
    """A network with random weights gives one of its labels."""
    folder = data.parent / "mine" / "video"
    torch.manual_seed(0)
    VideoCoSwinForVideoClassification(tiny.video(id2label=dict(enumerate(ByColor.labels)))).save_pretrained(folder)
    FlorenceImageProcessor(size=32, fit="squash", enlarge=1.0).save_pretrained(folder)
    arguments = ["eval", "actions", str(data), "--action-model", str(folder.parent), "--split", "val"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0 and "mine on 3 clips, 2 classes" in outcome.stdout and "86.5%" in outcome.stdout
