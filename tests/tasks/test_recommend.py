from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.errors import InputError
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from tests.retrievers.conftest import draw_video

MIXTURES = ("red red blue", "red blue red", "red green", "red red green", "blue", "blue green", "yellow", "green")


@pytest.fixture
def rag(tmp_path):
    embedder = ColorEmbedder()
    rag = FlorenceRAG(MemoryIndex(embedder.info), embedder)
    for colors in MIXTURES:
        Image.fromarray(color_frame(*colors.split())).save(tmp_path / f"{colors.replace(' ', '-')}.png")
    rag.add(tmp_path)
    return rag


def names(hits):
    return [Path(hit.source).stem for hit in hits]


def id_of(rag, name):
    return next(hit.id for hit in rag.index.find() if Path(hit.source).stem == name)


def test_an_image_is_not_recommended_for_itself(rag):
    found = rag.recommend([id_of(rag, "blue")], k=3, diversity=0)
    assert names(found)[0] == "blue-green" and "blue" not in names(found)
    assert found[0].score == 1.0 and "similar to blue.png" in found[0].explanation
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)


def test_disliked_items_are_excluded_and_avoided(rag):
    liked = id_of(rag, "red-red-green")
    plain = names(rag.recommend([liked], k=6, diversity=0))
    found = names(rag.recommend([liked], ["green"], k=6, diversity=0))
    assert plain.index("red-green") < plain.index("red-red-blue")
    assert found.index("red-red-blue") < found.index("red-green") and "green" not in found[:5]
    assert "green" not in names(rag.recommend([liked], [id_of(rag, "green")], k=8))


def test_ids_files_pixels_and_texts_can_be_liked(rag, tmp_path):
    for blue in (id_of(rag, "blue"), str(tmp_path / "blue.png"), tmp_path / "blue.png", color_frame("blue"), "blue"):
        assert "blue-green" in names(rag.recommend([blue], k=2, diversity=0))
    assert "blue" in names(rag.recommend(["blue"], k=2, diversity=0))
    assert "blue" not in names(rag.recommend([tmp_path / "blue.png"], k=8))


def test_a_near_duplicate_was_seen(rag, tmp_path):
    other_folder = tmp_path / "other_folder"
    other_folder.mkdir()
    Image.fromarray(color_frame("red", "green", size_px=96)).save(other_folder / "copy.jpg", quality=80)
    assert "red-green" not in names(rag.recommend([other_folder / "copy.jpg"], k=8))


def test_two_interests_stay_separate(rag):
    found = names(rag.recommend(["yellow", "blue"], k=2, diversity=0))
    assert set(found) == {"yellow", "blue"}


def test_seen_items_are_excluded(rag):
    first = rag.recommend(["red"], k=3)
    more = rag.recommend(["red"], k=8, seen=[hit.id for hit in first])
    assert len(more) == len(MIXTURES) - 3 and not {hit.id for hit in first} & {hit.id for hit in more}


def test_diversity_adds_different_items(rag):
    alike = names(rag.recommend(["red red blue"], k=2, diversity=0))
    assert set(alike) == {"red-red-blue", "red-blue-red"}
    assert set(names(rag.recommend(["red red blue"], k=2, diversity=0.6))) != set(alike)


@pytest.mark.parametrize("diversity", [0, 0.3, 1])
def test_scores_fall_however_diverse_the_hits_are(rag, diversity):
    scores = [hit.score for hit in rag.recommend(["red", "blue"], k=6, diversity=diversity)]
    assert len(scores) == 6 and scores == sorted(scores, reverse=True)


def test_filter_and_kinds_are_respected(rag, tmp_path):
    source = str(tmp_path / "blue.png")
    assert names(rag.recommend(["red"], filter={"source": source})) == ["blue"]
    assert rag.recommend(["red"], kinds={"text"}) == []


def test_a_video_is_one_hit_and_a_liked_video_is_excluded(rag, tmp_path):
    draw_video(tmp_path / "walk.mp4", ("red", "green", "blue"))
    draw_video(tmp_path / "ride.mp4", ("red", "purple"))
    rag.add(tmp_path)
    clip = next(hit for hit in rag.index.find(kinds={"clip"}) if hit.source.endswith("walk.mp4"))
    for walk in (clip.id, tmp_path / "walk.mp4"):
        found = names(rag.recommend([walk], k=20))
        assert "walk" not in found and found.count("ride") == 1


@pytest.mark.parametrize(
    ("like", "options", "message"),
    [
        ([], {}, "nothing to go by"),
        ("red", {}, "like must be a list"),
        ([" "], {}, "is empty"),
        (["red"], {"dislike": ["red"]}, "both liked and disliked"),
        (["0" * 32], {}, "no chunk has the id"),
        (["missing.jpg"], {}, "missing.jpg"),
        (["red"], {"diversity": 1.5}, "between 0"),
        (["red"], {"k": 0}, "at least 1"),
        (["red"], {"kinds": {"photo"}}, "kinds must be"),
        ([np.zeros((3, 3))], {}, "picture|thin"),
    ],
)
def test_wrong_requests_are_explained_in_one_line(rag, like, options, message):
    with pytest.raises(InputError, match=message) as error:
        rag.recommend(like, **options)
    assert "\n" not in str(error.value)
