import numpy as np
import pytest
from PIL import Image, ImageDraw

from florence_rag.chunking import ChunkingConfig, animation, chunk_or_skip, read_frames, read_image
from florence_rag.errors import MediaError
from florence_rag.types import Skipped
from tests.chunking.samples import scene, source

FORMATS = ["gif", "webp", "png", "avif"]
STILLS = [scene(seed, 320, 240) for seed in range(8)]


def write(path, frames, **options):
    first, *others = (each if isinstance(each, Image.Image) else Image.fromarray(each) for each in frames)
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=others, **lossless, **options)
    return source(path, "image")


def clips_of(file):
    chunks = list(chunk_or_skip(file))
    for chunk in chunks:
        if not isinstance(chunk, Skipped):
            again = read_frames(file.uri, chunk.kind, chunk.locator, chunk.metadata)
            assert all(map(np.array_equal, again, chunk.frames)) and len(again) == len(chunk.frames)
    return chunks


def near(frame, wanted):
    return np.abs(frame.astype(int) - wanted).mean() < 12


@pytest.mark.parametrize("form", FORMATS)
def test_each_still_of_a_slide_show_is_a_clip(tmp_path, form):
    clips = clips_of(write(tmp_path / f"a.{form}", STILLS, duration=[500, 1500, *[600] * 6]))
    assert [(clip.kind, clip.locator.start_s, clip.locator.end_s) for clip in clips[:3]] == [
        ("clip", 0.0, 0.5),
        ("clip", 0.5, 2.0),
        ("clip", 2.0, 2.6),
    ]
    assert len(clips) == 8 and clips[0].metadata == {"width": 320, "height": 240, "keyframes_s": [0.0]}
    assert all(near(clip.frames[0], still) for clip, still in zip(clips, STILLS, strict=True))


@pytest.mark.parametrize("form", FORMATS)
def test_a_few_frames_are_stills_however_short_they_are_shown(tmp_path, form):
    clips = clips_of(write(tmp_path / f"a.{form}", STILLS[:3], duration=50))
    assert len(clips) == 3 and all(near(clip.frames[0], still) for clip, still in zip(clips, STILLS[:3], strict=True))


def moving(steps, background):
    for step in range(steps):
        image = Image.fromarray(background)
        ImageDraw.Draw(image).rectangle((step * 4, 100, step * 4 + 30, 130), fill="red")
        yield image


@pytest.mark.parametrize("form", FORMATS)
def test_motion_is_cut_into_shots_as_in_a_video(tmp_path, form):
    frames = [*moving(30, STILLS[1]), *moving(30, STILLS[4])]
    clips = clips_of(write(tmp_path / f"a.{form}", frames, duration=100))
    assert [(clip.locator.start_s, clip.locator.end_s) for clip in clips] == [(0, 3), (3, 6)]
    assert near(clips[0].frames[0], STILLS[1]) and near(clips[1].frames[0], STILLS[4])


@pytest.mark.parametrize(("duration", "seconds"), [(0, 0.1), (5, 0.1), (40, 0.04)])
def test_frames_without_a_duration_are_shown_as_long_as_in_browsers(tmp_path, duration, seconds):
    clips = clips_of(write(tmp_path / "a.png", STILLS[:4], duration=duration))
    assert clips[-1].locator.end_s == pytest.approx(4 * seconds)


@pytest.mark.parametrize("form", ["gif", "webp", "png"])
def test_what_no_frame_covers_is_white(tmp_path, form):
    frames = []
    for step in range(6):
        frames.append(Image.new("RGBA", (100, 100), (0, 0, 0, 0)))
        ImageDraw.Draw(frames[-1]).rectangle((10 * step, 20, 10 * step + 19, 60), fill="red")
    clips = clips_of(write(tmp_path / f"a.{form}", frames, duration=600, **({} if form == "webp" else {"disposal": 2})))
    for step, clip in enumerate(clips):
        red = (clip.frames[0] == (255, 0, 0)).all(-1)
        assert red[20:61, 10 * step : 10 * step + 20].all() and red.sum() == 41 * 20
        assert (clip.frames[0][~red] == 255).all()
    assert (read_image(tmp_path / f"a.{form}")[0, 0] == 255).all()


def test_the_image_for_programs_without_animations_is_not_part_of_one(tmp_path):
    clips = clips_of(write(tmp_path / "a.png", STILLS[:4], duration=500, default_image=True))
    assert [near(clip.frames[0], still) for clip, still in zip(clips, STILLS[1:4], strict=True)] == [True] * 3


def test_a_damaged_animation_is_read_up_to_the_damage(tmp_path):
    file = write(tmp_path / "a.gif", STILLS, duration=500)
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "a.gif").write_bytes(data[: len(data) * 3 // 5])
    *clips, skipped = clips_of(file)
    assert 3 <= len(clips) <= 6 and (skipped.reason, skipped.locator.start_s) == ("damaged frames", len(clips) / 2)
    (tmp_path / "a.gif").write_bytes(data[:900])
    with pytest.raises(MediaError, match="damaged"):
        list(chunk_or_skip(file))


@pytest.mark.parametrize(("name", "limit"), [("MAX_ANIMATION_PIXELS", 320 * 240 * 5), ("MAX_ANIMATION_FRAMES", 5)])
def test_a_long_animation_is_read_up_to_a_limit(tmp_path, monkeypatch, name, limit):
    monkeypatch.setattr(animation, name, limit)
    *clips, skipped = clips_of(write(tmp_path / "a.gif", STILLS, duration=500))
    assert len(clips) == 5 and skipped.reason == "end of a long animation"


def test_an_animation_that_has_changed_is_an_error(tmp_path):
    file = write(tmp_path / "a.gif", STILLS, duration=500)
    clip = clips_of(file)[7]
    write(tmp_path / "a.gif", STILLS[:6], duration=500)
    with pytest.raises(MediaError, match=r"has no frame at 3\.500 s; index it again"):
        read_frames(file.uri, clip.kind, clip.locator, clip.metadata, ChunkingConfig())
