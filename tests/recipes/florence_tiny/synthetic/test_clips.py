import av
import numpy as np
import pytest
from scenedetect import ContentDetector, detect

from recipes.florence_tiny.synthetic.clips import Motion, Shot, Subtitle, draw_clip, write_clip, write_srt
from recipes.florence_tiny.synthetic.demo_corpus import parse_layout
from recipes.florence_tiny.synthetic.scene import Backdrop

NOON = parse_layout("red house, -, green tree, -, -", Backdrop("noon", "plain"), seed=1)
EVENING = parse_layout("-, blue sign, -, -, black dog", Backdrop("evening", "plain"), seed=2)
SHOTS = (Shot(NOON, 1.5, Motion("bus", "purple")), Shot(EVENING, 1.0))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "two-shots.mp4"
    write_clip(path, SHOTS, fps=12, size=(320, 240))
    return path


def test_a_clip_has_all_frames_at_the_given_rate_and_size(clip):
    with av.open(str(clip)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 30
    assert (frames[0].width, frames[0].height) == (320, 240)
    assert frames[-1].time == pytest.approx(29 / 12, abs=0.01)


def test_the_video_shows_the_drawn_frames(clip):
    with av.open(str(clip)) as container:
        for frame, drawn in zip(container.decode(video=0), draw_clip(SHOTS, 12, (320, 240)), strict=True):
            assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - np.asarray(drawn)).mean() < 6


def test_the_cut_between_shots_can_be_found(clip):
    shots = detect(str(clip), ContentDetector(min_scene_len=6))
    assert [round(start.seconds, 1) for start, _ in shots] == [0.0, 1.5]


def test_equal_shots_give_equal_bytes(clip, tmp_path):
    write_clip(tmp_path / "again.mp4", SHOTS, fps=12, size=(320, 240))
    assert (tmp_path / "again.mp4").read_bytes() == clip.read_bytes()


@pytest.mark.parametrize("heading", ["left", "right"])
def test_a_moving_object_crosses_the_whole_image(heading):
    motion = Motion("car", "red", heading)
    places = [motion.at(progress / 10).x for progress in range(11)]
    assert places == sorted(places, reverse=heading == "left")
    assert min(places) < 0 < 1 < max(places)
    frames = [np.asarray(frame).astype(int) for frame in draw_clip([Shot(NOON, 1, motion)], 5, (160, 120))]
    still = np.asarray(next(draw_clip([Shot(NOON, 1)], 5, (160, 120)))).astype(int)
    middles = [np.flatnonzero(np.abs(frame - still).sum(-1).any(0)) for frame in frames]
    assert not middles[0].size and not middles[-1].size
    crossing = [columns.mean() for columns in middles[1:-1]]
    assert crossing == sorted(crossing, reverse=heading == "left") and len(set(crossing)) == 3


def test_subtitles_are_written_as_subrip(tmp_path):
    write_srt(tmp_path / "a.srt", [Subtitle(0.2, 2.8, "Hello."), Subtitle(3661.05, 3662, "Bye.")])
    assert (tmp_path / "a.srt").read_text() == (
        "1\n00:00:00,200 --> 00:00:02,800\nHello.\n\n2\n01:01:01,050 --> 01:01:02,000\nBye.\n"
    )
