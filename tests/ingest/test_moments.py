"""Actions in a video are indexed next to its clips, found by their captions, and deleted with their file."""

from pathlib import Path

import numpy as np
import pytest

from florence_rag.chunking import ChunkingConfig
from florence_rag.context import Models
from florence_rag.ingest.moments import is_moment, with_moments
from florence_rag.perception.base import Action
from florence_rag.rag import FlorenceRAG
from florence_rag.retrieval.grouping import overlap
from florence_rag.testing import COLORS, ColorEmbedder, MemoryIndex, color_frame
from florence_rag.types import Chunk, Locator, Source
from tests.chunking.samples import write_video

EMBEDDER = ColorEmbedder()
COLOR_SEQUENCE = ("red",) * 20 + ("blue",) * 20 + ("green",) * 20


def name_of(frame):
    """Return the nearest color, since video codecs change colors a little."""
    mean = frame.mean(axis=(0, 1))
    return min(COLORS, key=lambda name: np.abs(mean - COLORS[name]).sum())


class ColorRecognizer:
    """Finds an action for as long as the frames have one color; green frames show no action."""

    fps = 5.0

    def __init__(self):
        self.stretches = []

    def recognize(self, frames, end_s=None):
        seen = [(time_s, name_of(frame)) for time_s, frame in frames]
        self.stretches.append((round(seen[0][0] - 0.1, 1), end_s))
        actions = []
        for time_s, name in seen:
            start_s, label = time_s - 0.1, f"glows {name}"
            if actions and actions[-1].label == label:
                start_s = actions.pop().start_s
            actions.append(Action(label, round(start_s, 3), round(time_s + 0.1, 3), 0.9, {"color": name}))
        return [action for action in actions if "green" not in action.label]

    def sentence(self, action):
        return f"the wall {action.label}"


class BlindRecognizer(ColorRecognizer):
    def recognize(self, frames, end_s=None):
        raise RuntimeError("too\ndark")


def write_colors(path, colors=COLOR_SEQUENCE):
    """Write a video in which ten frames of one color are a second."""
    return write_video(path, [color_frame(color, size_px=64) for color in colors])


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write_colors(folder / "one.mp4")
    write_colors(folder / "other.mp4", ("green",) * 20 + ("yellow",) * 20)
    return folder


def rag_with(recognizer):
    return FlorenceRAG(MemoryIndex(EMBEDDER.info), Models.of(EMBEDDER, action_recognizer=recognizer))


@pytest.fixture(scope="module")
def rag(videos):
    with rag_with(ColorRecognizer()) as rag:
        report = rag.add(videos)
        assert report.added == 2 and not report.failed
        yield rag


def clip(path, start_s, end_s, **metadata):
    return Chunk(
        Source(str(path), "video", 1, 1, "f"),
        "clip",
        Locator(start_s=start_s, end_s=end_s),
        text="spoken",
        frames=(color_frame("red"),),
        metadata={"n": 1, "keyframes_s": [start_s], **metadata},
    )


def test_moments_follow_their_clip_with_its_metadata_and_their_captions(videos):
    whole, red, blue = with_moments(ColorRecognizer(), [clip(videos / "one.mp4", 0.0, 4.0)])
    assert not is_moment(whole) and is_moment(red) and is_moment(blue)
    assert (red.kind, red.source, red.locator) == ("clip", whole.source, Locator(start_s=0.0, end_s=2.0))
    assert (red.caption, red.text) == ("the wall glows red", "")
    known = {"n": 1, "action": "glows red", "color": "red", "confidence": 0.9}
    assert {name: value for name, value in red.metadata.items() if name != "keyframes_s"} == known
    assert red.metadata["keyframes_s"] == pytest.approx([0.5, 1.0, 1.5], abs=0.11)
    assert {name_of(frame) for frame in blue.frames} == {"blue"} and len({whole.id, red.id, blue.id}) == 3


def test_the_recognizer_receives_a_shot_of_several_clips_as_one(videos):
    recognizer, path = ColorRecognizer(), videos / "one.mp4"
    chunks = [clip(path, 0.0, 1.0), clip(path, 1.0, 3.0, continues=True), clip(path, 3.0, 4.0)]
    found = with_moments(recognizer, chunks)
    assert recognizer.stretches == [(0.0, 3.0), (3.0, 4.0)]
    assert [is_moment(chunk) for chunk in found] == [False, False, True, True, True]
    assert found[2].locator == Locator(start_s=0.0, end_s=2.0) and "continues" not in found[3].metadata


def test_clips_of_two_videos_are_never_one_shot(videos):
    recognizer = ColorRecognizer()
    with_moments(recognizer, [clip(videos / "one.mp4", 0.0, 1.0), clip(videos / "other.mp4", 0.0, 1.0, continues=True)])
    assert len(recognizer.stretches) == 2


def test_clips_of_long_shots_are_marked_as_continued(tmp_path):
    path = write_colors(tmp_path / "long.mp4", ("red",) * 60)
    recognizer = ColorRecognizer()
    index = MemoryIndex(EMBEDDER.info)
    with FlorenceRAG(
        index, Models.of(EMBEDDER, action_recognizer=recognizer), chunking=ChunkingConfig(clip_max_s=2.0)
    ) as rag:
        rag.add(path)
        clips = sorted((hit for hit in index.find(kinds={"clip"})), key=lambda hit: hit.locator.start_s)
    assert recognizer.stretches == [(0.0, 6.0)]
    assert [hit.metadata.get("continues", False) for hit in clips if not is_moment(hit)] == [False, True, True]
    assert [hit.locator for hit in clips if is_moment(hit)] == [Locator(start_s=0.0, end_s=6.0)]


def test_an_action_with_the_times_of_a_clip_becomes_its_caption(videos):
    (found,) = with_moments(ColorRecognizer(), [clip(videos / "one.mp4", 0.0, 2.0)])
    assert (found.text, found.caption, found.metadata["action"]) == ("spoken", "the wall glows red", "glows red")
    assert found.metadata["keyframes_s"] == [0.0] and len(found.frames) == 1


def test_the_recognizer_receives_only_clips():
    image = Chunk(Source("/a", "image", 1, 1, "a"), "image", frames=(color_frame("red"),))
    passage = Chunk(Source("/t", "text", 1, 1, "t"), "text", text="red")
    assert with_moments(ColorRecognizer(), [image, passage]) == [image, passage]
    assert with_moments(ColorRecognizer(), []) == []


def test_actions_are_found_with_their_times_in_all_videos(rag):
    (best,) = rag.find_moments("when does the wall glow blue?", k=1)
    assert Path(best.source).name == "one.mp4" and best.metadata["action"] == "glows blue"
    assert (best.locator.start_s, best.locator.end_s) == pytest.approx((2.0, 4.0), abs=0.11)
    assert Path(rag.find_moments("the wall glows yellow", k=1)[0].source).name == "other.mp4"


def test_a_moment_hides_others_of_mostly_the_same_time(rag):
    apart = rag.find_moments("yellow wall", k=9)
    assert apart
    for hit in apart:
        for other in apart:
            if hit is not other and hit.source == other.source:
                assert overlap(span(hit), span(other)) < 0.5


def span(hit):
    return hit.locator.start_s, hit.locator.end_s


def test_moments_can_be_filtered_by_their_action(rag):
    hits = rag.find_moments("wall", k=9, filter={"metadata.action": "glows red"})
    assert [hit.metadata["action"] for hit in hits] == ["glows red"]


def test_the_frames_of_a_moment_can_be_read_again(rag):
    (hit,) = rag.find_moments("the wall glows red", k=1)
    assert {name_of(frame) for frame in rag.frames(hit)} == {"red"}


def test_moments_are_deleted_with_their_video(tmp_path):
    path = write_colors(tmp_path / "one.mp4")
    with rag_with(ColorRecognizer()) as rag:
        rag.add(tmp_path)
        assert rag.index.find(kinds={"clip"})
        path.unlink()
        (tmp_path / "note.txt").write_text("gone")
        rag.add(tmp_path, prune=True)
        assert not list(rag.index.find(kinds={"clip"}))


def test_if_the_recognizer_fails_only_its_file_fails(tmp_path):
    write_colors(tmp_path / "one.mp4")
    (tmp_path / "note.txt").write_text("still here")
    with rag_with(BlindRecognizer()) as rag:
        report = rag.add(tmp_path)
    assert report.added == 1
    assert [failure.reason for failure in report.failed] == ["could not be described: RuntimeError: too dark"]
