import numpy as np
import pytest

from florence_rag.chunking.frame_sampling import sample_frames
from florence_rag.errors import FlorenceError
from tests.chunking.samples import write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Four seconds at 10 Hz that grow lighter, so that the brightness of a frame gives its number."""
    frames = [np.full((48, 64, 3), 5 * number + 20, np.uint8) for number in range(40)]
    return write_video(tmp_path_factory.mktemp("motion") / "light.mp4", frames)


def numbers(sampled):
    return [round((frame.mean() - 20) / 5) for _, _, frame in sampled]


def test_frames_are_those_shown_at_even_times(video):
    sampled = list(sample_frames(str(video), 1.0, 3.0, 4))
    assert [time_s for time_s, _, _ in sampled] == [1.125, 1.375, 1.625, 1.875, 2.125, 2.375, 2.625, 2.875]
    assert [at_s for _, at_s, _ in sampled] == pytest.approx([1.1, 1.3, 1.6, 1.8, 2.1, 2.3, 2.6, 2.8])
    assert np.abs(np.array(numbers(sampled)) - [11, 13, 16, 18, 21, 23, 26, 28]).max() <= 1


def test_an_interval_shorter_than_a_step_gives_its_middle(video):
    ((time_s, at_s, _),) = sample_frames(str(video), 2.0, 2.1, 4)
    assert (time_s, at_s) == (2.05, 2.0)


def test_frames_are_repeated_for_a_higher_rate(video):
    sampled = list(sample_frames(str(video), 0.0, 1.0, 20))
    assert len(sampled) == 20 and len({at_s for _, at_s, _ in sampled}) == 10


def test_the_last_frame_is_repeated_after_the_end(video):
    sampled = list(sample_frames(str(video), 3.0, 5.0, 2))
    assert len(sampled) == 4 and sampled[-1][1] == sampled[-2][1] == pytest.approx(3.9)


def test_frames_are_small(video):
    assert next(sample_frames(str(video), 0.0, 1.0, 4, max_side_px=32))[2].shape == (24, 32, 3)


def test_a_file_that_is_no_video_is_one_line(tmp_path):
    (tmp_path / "no.mp4").write_text("no video")
    for path in (tmp_path / "no.mp4", tmp_path / "gone.mp4"):
        with pytest.raises(FlorenceError, match=path.name):
            list(sample_frames(str(path), 0.0, 1.0, 4))
