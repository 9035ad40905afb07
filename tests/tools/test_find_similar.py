import pytest

from florence_rag.testing import color_frame
from florence_rag.tools import FindSimilar
from florence_rag.viz.thumbnails import data_uri


def test_similar_images_are_found_in_other_files(full_rag, red):
    result = FindSimilar(full_rag)(red.id, k=3)
    sources = [hit["source"] for hit in result.artifact["hits"]]
    assert sources[0].endswith("walk.mp4")
    assert red.source not in sources
    assert "text" not in [hit["kind"] for hit in result.artifact["hits"]]
    assert result.text.startswith('3 results similar to [image] "red.png", most similar first:\nText between')
    assert FindSimilar(full_rag)(red.id, k=1).text.startswith("1 result similar to ")


def test_a_clip_does_not_find_its_own_video(full_rag):
    clip = full_rag.search("blue", k=1, kinds={"clip"}, group=False)[0]
    hits = FindSimilar(full_rag)(clip.id, k=10).artifact["hits"]
    assert hits[0]["source"].endswith("blue.png")
    assert clip.source not in [hit["source"] for hit in hits]


def test_an_image_outside_the_index_excludes_no_file(full_rag, red):
    hits = FindSimilar(full_rag)(data_uri(color_frame("red")), k=2).artifact["hits"]
    assert {hit["source"].rpartition("/")[2] for hit in hits} == {"red.png", "walk.mp4"}


@pytest.mark.parametrize(
    ("arguments", "message"), [({"k": 21}, "k is 21"), ({"k": 10_000}, "k is 10000"), ({"kinds": ["movie"]}, "'movie'")]
)
def test_a_wrong_call_is_explained(full_rag, red, arguments, message):
    result = FindSimilar(full_rag)(red.id, **arguments)
    assert result.is_error and message in result.text
