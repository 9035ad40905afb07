from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from florence_rag.datasets.videos import VideoClip
from florence_rag.finetuning.examples import VideoCache, split_examples, train_val_split
from florence_rag.models.processing import FlorenceImageProcessor
from recipes.florence_tiny.synthetic.clips import write_mp4


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=60), st.floats(0.01, 0.5), st.integers(0, 5))
def test_a_split_is_deterministic_and_leaves_no_part_empty(groups, share, seed):
    items = list(range(len(groups)))
    learn, check = train_val_split(items, groups, share, seed)
    assert sorted(learn + check) == items and check and learn
    assert (learn, check) == train_val_split(items, groups, share, seed)
    assert {groups[i] for i in items} >= {groups[i] for i in learn}


def test_the_splits_of_the_data_are_kept():
    clips = [VideoClip(Path(str(i)), "a", split=split) for i, split in enumerate(("train", "val", "test", "train"))]
    assert split_examples(clips, 0.5, 0) == ([clips[0], clips[3]], [clips[1]])


def test_examples_of_one_unit_stay_together():
    clips = [VideoClip(Path(str(i % 4)), "a", float(i)) for i in range(12)]
    learn, check = split_examples(clips, 0.25, 0, stratum=lambda clip: clip.label, unit=lambda clip: clip.path)
    assert len(check) == 3 and len({clip.path for clip in check}) == 1 and len(learn) == 9


@pytest.mark.parametrize("memory_bytes", [2 << 30, 0], ids=["in memory", "from the file"])
def test_frames_are_those_of_their_times(tmp_path, memory_bytes):
    images = (Image.new("RGB", (64, 64), (10 * i,) * 3) for i in range(24))  # each frame is brighter than the last
    write_mp4(tmp_path / "a.mp4", images, 8, (64, 64))
    clip = VideoClip(tmp_path / "a.mp4", "brighter")
    cache = VideoCache([clip], FlorenceImageProcessor(size=32, fit="squash", enlarge=1.0), 4.0, memory_bytes)
    assert cache.frames[clip] == 12
    frames = cache.select(clip, [0, 5, 5, 11])
    assert frames.shape == (4, 32, 32, 3)
    assert np.abs(frames.mean((1, 2, 3)) - [10, 110, 110, 230]).max() < 12
