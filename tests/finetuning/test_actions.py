import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from florence_rag.errors import InputError
from florence_rag.finetuning.actions import ActionTask, ClipDataset, adapt_to_labels
from florence_rag.finetuning.examples import VideoCache
from florence_rag.finetuning.settings import Settings
from florence_rag.finetuning.trainer import fine_tune
from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.models.registry import find_model
from florence_rag.models.video_coswin import VideoCoSwinForVideoClassification
from florence_rag.perception.actions import VideoCoSwinRecognizer
from florence_rag.perception.base import Action
from recipes.florence_tiny.synthetic.clips import write_mp4
from tests.models import tiny

QUICK = Settings(steps=2, batch=4, checks=1, validation=0.2)
SMALL = FlorenceImageProcessor(size=32, fit="squash", enlarge=1.0)
PX, FPS = 64, 8


def frames_of(label, shift=0, count=16):
    """Yield frames of a square that rises, sinks or stands."""
    for i in range(count):
        y = {"rises": 44 - 3 * i, "sinks": 3 * i, "stands": 20}[label]
        image = Image.new("RGB", (PX, PX), "black")
        ImageDraw.Draw(image).rectangle((10 + shift, y, 25 + shift, y + 15), fill="white")
        yield image


def write_clip(path, label="rises", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(path, frames_of(label, **options), FPS, (PX, PX))
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network with the labels "stops", "starts" and "stands"."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("start") / "video"
    VideoCoSwinForVideoClassification(tiny.video(idle="stands", wording={"car": ["", "", ""]})).save_pretrained(folder)
    SMALL.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for label in ("rises", "sinks"):
        for i in range(10):
            write_clip(folder / label / f"{i}.mp4", label, shift=3 * i)
    return folder


def test_actions_are_learned_and_the_model_opens_by_name(network, videos, tmp_path):
    out = tmp_path / "mine"
    settings = replace(QUICK, steps=60, batch=8, checks=4, learning_rate=5e-3)
    result = fine_tune(ActionTask(videos), out, network, name="small", settings=settings)
    assert (result.examples, result.validation, result.failed) == (16, 4, ())
    assert result.after["top-1"] == 1.0 > result.before["top-1"]
    recognizer = VideoCoSwinRecognizer.from_pretrained(find_model(str(out), "action").video, name="mine")
    assert recognizer.labels == ("rises", "sinks") and recognizer.fps == 3.0
    frames = [np.asarray(each) for each in frames_of("sinks", shift=9)]
    assert recognizer.classify(frames)[0][0] == "sinks"
    (action,) = recognizer.recognize([((i + 0.5) / 3, frames[int(i * FPS / 3)]) for i in range(6)], 2.0)
    assert recognizer.sentence(action) == "sinks"
    card = (out / "video" / "README.md").read_text("utf-8")
    assert "labels: 2: rises, sinks" in card and "--action-model mine" in card


def test_known_labels_keep_their_weights(network):
    known = VideoCoSwinForVideoClassification.from_pretrained(network)
    model = adapt_to_labels(known, ["rises", "stands", "stops"], idle=None, window_s=None)
    rows = torch.stack([known.classifier.weight[2], known.classifier.weight[0]])
    torch.testing.assert_close(model.classifier.weight[1:], rows)
    torch.testing.assert_close(model.classifier.bias[1:], known.classifier.bias[[2, 0]])
    for name, weight in known.video_coswin.state_dict().items():
        torch.testing.assert_close(model.video_coswin.state_dict()[name], weight)
    config = model.config
    assert config.id2label == {0: "rises", 1: "stands", 2: "stops"} and config.label2id["stops"] == 2
    assert (config.idle, config.window_s, config.attributes, config.wording) == ("stands", 2.0, None, None)
    assert not model.attributes and model(torch.zeros(1, 6, 3, 32, 32)).logits.shape == (1, 3)
    other = adapt_to_labels(known, ["a", "b"], idle="b", window_s=4.0).config
    assert (other.idle, other.window_s) == ("b", 4.0)
    assert adapt_to_labels(known, ["a", "b"], idle=None, window_s=None).config.idle is None


def test_missing_damaged_and_short_videos_are_reported(network, videos, tmp_path):
    paths = [path for label in ("rises", "sinks") for path in sorted((videos / label).iterdir())[:4]]
    (tmp_path / "broken.mp4").write_text("no video")
    short = write_clip(tmp_path / "short.mp4", count=4)
    rows = [(path, path.parent.name) for path in (*paths, paths[0])]
    rows += [("broken.mp4", "rises"), ("gone.mp4", "sinks"), (short, "rises")]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    result = fine_tune(ActionTask(tmp_path / "list.csv"), tmp_path / "mine", network, settings=QUICK)
    assert result.examples + result.validation == 9
    assert sorted(failure.source.rsplit("/")[-1] for failure in result.failed) == ["broken.mp4", "gone.mp4"]
    assert result.details["videos shorter than 2 s, with repeated frames"] == "1: rises/short.mp4"


def test_the_parts_share_no_video(network, videos, tmp_path):
    """A video with two names counts once."""
    (tmp_path / "rises").mkdir()
    for i in range(3):
        (tmp_path / "rises" / f"a{i}.mp4").symlink_to(videos / "rises" / f"{i}.mp4")
        (tmp_path / "rises" / f"b{i}.mp4").symlink_to(videos / "rises" / f"{i}.mp4")
    (tmp_path / "sinks").symlink_to(videos / "sinks")
    result = fine_tune(ActionTask(tmp_path), tmp_path / "mine", network, settings=QUICK)
    assert result.examples + result.validation == 13


def test_one_label_alone_is_refused(network, videos, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rises").symlink_to(videos / "rises")
    write_clip(tmp_path / "data" / "stands" / "0.mp4", "stands").write_text("damaged")
    with pytest.raises(InputError, match=r"all videos of .* are labeled 'rises': there is nothing to distinguish"):
        fine_tune(ActionTask(tmp_path / "data"), tmp_path / "mine", network, settings=QUICK)


def test_one_video_has_one_label(network, videos, tmp_path):
    """A video with two names counts once."""
    for label in ("rises", "sinks"):
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "0.mp4").symlink_to(videos / "rises" / "0.mp4")
    with pytest.raises(InputError, match=r"0\.mp4' in .* is labeled both 'rises' and 'sinks'"):
        fine_tune(ActionTask(tmp_path / "data"), tmp_path / "mine", network, settings=QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"idle": "stands"}, "idle is 'stands', which is not a label of .* it has 2: rises, sinks"),
        ({"window_s": 0.0}, r"window_s is 0\.0"),
        ({"window_s": float("nan")}, "window_s is nan"),
    ],
)
def test_wrong_arguments_are_refused(network, videos, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        fine_tune(ActionTask(videos, **options), tmp_path / "mine", network, settings=QUICK)


def test_a_run_is_resumed_only_with_the_same_arguments(network, videos, tmp_path):
    fine_tune(ActionTask(videos), tmp_path, network, settings=QUICK)
    with pytest.raises(InputError, match="started with another window_s"):
        fine_tune(ActionTask(videos, window_s=3.0), tmp_path, network, settings=QUICK)


@pytest.mark.parametrize("count", [1, 5, 6, 7, 40])
def test_clips_cover_videos_of_any_length(count):
    cache = VideoCache([], SMALL, fps=3.0)
    whole = ClipDataset([], cache, [], 6, augment=False).frame_indices(count)
    assert whole == [(2 * i + 1) * count // 12 for i in range(6)]
    torch.manual_seed(0)
    chosen = [ClipDataset([], cache, [], 6, augment=True).frame_indices(count) for _ in range(50)]
    assert all(each == sorted(each) and len(each) == 6 and 0 <= each[0] <= each[-1] < count for each in chosen)
    dense = sum(each[-1] - each[0] == 5 for each in chosen)
    assert count < 40 or 10 < dense < 40


def test_a_network_without_wording_names_its_labels(network):
    model = VideoCoSwinForVideoClassification(tiny.video(wording=None))
    assert VideoCoSwinRecognizer(model, SMALL).sentence(Action("playing guitar", 0, 1, 1.0, {})) == "playing guitar"
