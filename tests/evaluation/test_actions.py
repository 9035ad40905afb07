import pytest
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.evaluation.actions import evaluate_actions, read_kinetics
from florence_rag.evaluation.videos import Videos
from florence_rag.testing import color_frame
from florence_rag.training.world.clips import write_frames

HEAD = "label,youtube_id,time_start,time_end,split\n"


class ByColor:
    """Says what a clip shows by the colour of its middle picture, red or blue, and counts what it is shown."""

    labels = ("to blush", "to cool")
    rate_hz = 4.0

    def __init__(self):
        self.seen = []

    def classify(self, frames):
        self.seen.append(len(frames))
        red, _, blue = frames[len(frames) // 2].mean(axis=(0, 1))
        return [("to blush", 0.9), ("to cool", 0.1)] if red > blue else [("to cool", 0.9), ("to blush", 0.1)]


def film(path, *colors):
    """A second of each colour."""
    pictures = [Image.fromarray(color_frame(color, size_px=64)) for color in colors for _ in range(8)]
    write_frames(path, pictures, 8, (64, 64))


@pytest.fixture
def data(tmp_path):
    """a.mp4 is whole, red and then blue; of b a clip was cut out; c is gone."""
    film(tmp_path / "a.mp4", "red", "red", "blue", "blue")
    (tmp_path / "cooling").mkdir()
    film(tmp_path / "cooling" / "b_000010_000012.mp4", "blue", "blue")
    rows = [
        "to blush,a,0,2,val",
        "to cool,a,2,4,val",
        "to blush,b,10,12,val",
        "to cool,c,0,9,val",
        "to cool,a,0,4,train",
    ]
    (tmp_path / "list.csv").write_text(HEAD + "\n".join(rows) + "\n")
    return tmp_path / "list.csv"


def test_figures_of_a_list(data):
    model = ByColor()
    report = evaluate_actions(read_kinetics(data, split="val"), Videos(data.parent), model, "by colour")
    assert report.counts == {"clips": 3, "classes": 2} and model.seen == [8, 8, 8]
    assert report["top-1"].value == pytest.approx(2 / 3) and len(report.figures) == 1
    assert [(failure.source, failure.reason) for failure in report.failed] == [("c from 0 s", "there is no such video")]
    assert report.to_dict()["florence_percent"][0]["value"] == 86.5


def test_damaged_videos_and_clips_after_the_end_are_reported(data):
    (data.parent / "cooling" / "b_000010_000012.mp4").write_bytes(b"no video")
    data.write_text(data.read_text() + "to cool,a,50,60,val\n")
    report = evaluate_actions(read_kinetics(data, split="val"), Videos(data.parent), ByColor(), "by colour")
    assert [failure.source for failure in report.failed] == ["b from 10 s", "c from 0 s", "a from 50 s"]
    assert report["top-1"].value == 1


def test_nothing_readable_and_unknown_labels_are_errors(data, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="none of the clips can be read: a from 0 s: there is no such video"):
        evaluate_actions(read_kinetics(data), Videos(tmp_path / "empty"), ByColor(), "by colour")
    data.write_text(HEAD + "to fly,a,0,1,val\n")
    with pytest.raises(InputError, match="by colour does not know the label 'to fly'; it knows to blush, to cool"):
        evaluate_actions(read_kinetics(data), Videos(data.parent), ByColor(), "by colour")
    with pytest.raises(InputError, match="is no folder"):
        Videos(data.parent / "gone")


@pytest.mark.parametrize(
    ("text", "split", "message"),
    [
        ("", None, "lists nothing; its columns must be label, youtube_id"),
        ("label,youtube_id,time_start\nx,a,0\n", None, "has no column 'time_end'"),
        ("label,youtube_id,time_start,time_end\nx,a,0,1\n", "val", "has no column 'split'"),
        (HEAD + "x,a,0,1,val\n", "test", "has no split 'test'; it has val"),
        (HEAD + "x,,0,1,val\n", None, "the field 'youtube_id' of row 2 of .* is empty"),
        (HEAD + "x,a,0\n", None, "the field 'time_end' of row 2 of .* is empty"),
        (HEAD + "x,a,zero,1,val\n", None, "'time_start' and 'time_end' of row 2 .* must be seconds"),
        (HEAD + "x,a,2,1,val\n", None, "are 2 and 1; 0 <= start < end"),
        (HEAD + "x,a,nan,1,val\n", None, "0 <= start < end"),
    ],
)
def test_the_field_that_is_wrong_is_named(tmp_path, text, split, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_kinetics(tmp_path / "list.csv", split=split)


def test_a_missing_list_is_an_error():
    with pytest.raises(InputError, match=r"gone\.csv' cannot be read"):
        read_kinetics("gone.csv")


def test_actions_are_measured_in_the_command_line(data, monkeypatch):
    from typer.testing import CliRunner

    from florence_rag.cli.app import app
    from florence_rag.loading import model_factory as opening

    monkeypatch.setattr(opening, "open_recognizer", lambda name, access: ByColor())
    outcome = CliRunner().invoke(app, ["eval", "actions", str(data), "--actions", "mine", "--split", "val"])
    assert outcome.exit_code == 0 and "mine on 3 clips, 2 classes" in outcome.stdout and "86.5%" in outcome.stdout
