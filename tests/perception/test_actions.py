import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.errors import InputError, ModelError
from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.models.video_coswin import VideoCoSwinForVideoClassification
from florence_rag.perception.actions import VideoCoSwinRecognizer, likeliest_path
from florence_rag.perception.base import Action, ActionRecognizer
from tests.models import tiny

WORDING = {"car": ["a {color} car", "a car", "drives"], "dog": ["a {color} dog", "a dog", "runs"]}


def noise(count: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 40, 60, 3), dtype=np.uint8))


def timed(frames: list[np.ndarray]) -> list[tuple[float, np.ndarray]]:
    """Give the frames times at three per second, the rate of the tiny network, whose window has six frames."""
    return [((i + 0.5) / 3, frame) for i, frame in enumerate(frames)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video")
    torch.manual_seed(0)
    VideoCoSwinForVideoClassification(tiny.video(idle="stands", wording=WORDING)).save_pretrained(path)
    FlorenceImageProcessor(size=32, fit="squash", enlarge=1.0).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def recognizer(folder: Path) -> VideoCoSwinRecognizer:
    return VideoCoSwinRecognizer.from_pretrained(folder, name="tiny", device="cpu", threshold=0.0)


class Scripted(VideoCoSwinRecognizer):
    """Recognizes in each window the class whose number is the gray of its first frame."""

    def probabilities(self, windows):
        classes = [int(window[0, 0, 0, 0]) for window in windows]
        sure = np.full((len(classes), 3), 0.05)
        sure[range(len(classes)), classes] = 0.9
        return {
            "label": sure,
            "color": np.tile([0.4, 0.6], (len(sure), 1)),
            "object": np.tile([0.5, 0.5], (len(sure), 1)),
        }


@pytest.fixture
def scripted(folder: Path) -> Scripted:
    return Scripted.from_pretrained(folder, name="tiny", device="cpu")


def grays(*classes: int) -> list[np.ndarray]:
    return [np.full((8, 8, 3), gray, np.uint8) for gray in classes]


def test_it_is_an_action_recognizer_with_labels_and_a_rate(recognizer: VideoCoSwinRecognizer) -> None:
    assert isinstance(recognizer, ActionRecognizer)
    assert recognizer.labels == ("stops", "starts", "stands") and recognizer.fps == 3.0


@pytest.mark.parametrize("count", [1, 2, 6, 7, 50])
def test_a_clip_of_any_length_ranks_all_labels(recognizer: VideoCoSwinRecognizer, count: int) -> None:
    found = recognizer.classify(noise(count))
    assert sorted(label for label, _ in found) == sorted(recognizer.labels)
    assert [share for _, share in found] == sorted((share for _, share in found), reverse=True)
    assert sum(share for _, share in found) == pytest.approx(1.0)


def test_a_clip_without_frames_is_an_error(recognizer: VideoCoSwinRecognizer) -> None:
    with pytest.raises(InputError, match="the clip has no frames"):
        recognizer.classify([])


@pytest.mark.parametrize("count", [1, 3, 5, 6, 7, 40])
def test_actions_lie_within_the_video(recognizer: VideoCoSwinRecognizer, count: int) -> None:
    actions = recognizer.recognize(iter(timed(noise(count))), count / 3)
    assert all(0 <= action.start_s < action.end_s <= round(count / 3, 3) for action in actions)
    assert all(one.end_s <= other.start_s for one, other in itertools.pairwise(actions))
    assert all(action.label != "stands" for action in actions)


def test_a_video_without_frames_has_no_actions(recognizer: VideoCoSwinRecognizer) -> None:
    assert recognizer.recognize([]) == []


def test_windows_that_agree_form_one_action(scripted: Scripted) -> None:
    # Windows begin at every second frame: five see class 2, which is idle, five class 1, five class 0.
    classes = [2] * 10 + [1] * 10 + [0] * 15
    actions = scripted.recognize(timed(grays(*classes)), end_s=35 / 3)
    assert [action.label for action in actions] == ["starts", "stops"]
    assert all(0.8 < action.confidence <= 0.9 for action in actions)
    assert actions[0].end_s == actions[1].start_s and actions[1].end_s == round(35 / 3, 3)
    assert actions[0].start_s == pytest.approx(12 / 3, abs=0.01)


def test_a_single_window_does_not_interrupt(scripted: Scripted) -> None:
    classes = [1] * 10 + [0] * 2 + [1] * 14
    (action,) = scripted.recognize(timed(grays(*classes)))
    assert action.label == "starts" and action.confidence < 0.9


def test_a_clip_shorter_than_a_window_is_one_action(scripted: Scripted) -> None:
    (action,) = scripted.recognize(timed(grays(1, 1)), end_s=0.7)
    assert (action.label, action.start_s, action.end_s) == ("starts", 0.0, 0.7)


def test_only_confident_attributes_are_reported(scripted: Scripted) -> None:
    (action,) = scripted.recognize(timed(grays(1, 1)))
    assert action.attributes == {"color": "blue", "object": "car"}


def test_a_video_without_motion_has_no_action(scripted: Scripted) -> None:
    assert scripted.recognize(timed(grays(*[2] * 30))) == []


@pytest.mark.parametrize(
    ("label", "attributes", "sentence"),
    [
        ("drives to the left", {"object": "car", "color": "red"}, "a red car drives to the left"),
        ("drives to the left", {"object": "dog", "color": "red"}, "a red dog runs to the left"),
        ("stops", {"object": "car"}, "a car stops"),
        ("stops", {"color": "red"}, "something stops"),
        ("stops", {"object": "cow"}, "something stops"),
        ("stops", {}, "something stops"),
    ],
)
def test_sentences_of_actions(recognizer: VideoCoSwinRecognizer, label: str, attributes: dict, sentence: str) -> None:
    assert recognizer.sentence(Action(label, 0, 1, 1.0, attributes)) == sentence


@given(st.lists(st.lists(st.floats(0.001, 1.0), min_size=3, max_size=3), min_size=1, max_size=7), st.integers(1, 4))
def test_the_likeliest_path_is_the_best_of_all(rows: list[list[float]], least: int) -> None:
    shares = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    path = likeliest_path(shares, least=least)

    def runs(classes: Sequence[int]) -> list[int]:
        return [len(list(run)) for _, run in itertools.groupby(classes)]

    def score(classes: Sequence[int]) -> float:
        return sum(np.log(shares[i, each]) for i, each in enumerate(classes)) - 2.0 * (len(runs(classes)) - 1)

    allowed = [p for p in itertools.product(range(3), repeat=len(rows)) if min(runs(p)) >= min(least, len(rows))]
    assert tuple(path) in allowed
    assert score(path) == pytest.approx(max(map(score, allowed)))


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_outside_0_to_1_is_refused(folder: Path, threshold: float) -> None:
    with pytest.raises(InputError, match="give a confidence from 0 to 1"):
        VideoCoSwinRecognizer.from_pretrained(folder, name="tiny", device="cpu", threshold=threshold)


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'mine': .* cannot be opened as an action model: ") as caught:
        VideoCoSwinRecognizer.from_pretrained(tmp_path, name="mine")
    assert "\n" not in str(caught.value)
