from florence_rag.testing import color_frame
from florence_rag.tools import DescribeImage
from florence_rag.viz.thumbnails import data_uri


def test_an_image_is_described(full_rag, red):
    result = DescribeImage(full_rag)(red.id)
    place, rule, *fenced = result.text.splitlines()
    assert place == '[image] "red.png"' and rule.startswith(f"Text between {fenced[0]} and {fenced[-1]}")
    assert fenced[1:-1] == ["a red wall"]
    assert result.artifact["captions"] == ["a red wall"]
    assert result.artifact["citation"]["id"] == red.id


def test_captions_of_a_clip_are_not_repeated(full_rag, long_clip):
    assert DescribeImage(full_rag)(long_clip.id).artifact["captions"] == ["the sea", "a red wall"]


def test_an_image_without_a_caption(full_rag):
    assert DescribeImage(full_rag)(data_uri(color_frame("white"))).text.endswith("No description.")
