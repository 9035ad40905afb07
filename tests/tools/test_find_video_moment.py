import re

import pytest

from florence_rag.tools import FindVideoMoment


def test_moments_have_start_end_and_a_link(full_rag):
    result = FindVideoMoment(full_rag)("something green", k=1)
    (moment,) = result.artifact["moments"]
    assert moment["source"].endswith("walk.mp4") and moment["kind"] == "clip"
    assert (moment["start_s"], moment["end_s"]) == (pytest.approx(2.0, abs=0.3), pytest.approx(4.0, abs=0.3))
    assert re.fullmatch(r"file:///.*/walk\.mp4#t=[\d.]+,[\d.]+", moment["link"])
    assert f'[{moment["start_s"]:.1f} s, {moment["end_s"]:.1f} s] "{moment["link"]}"' in result.text
    assert moment["id"] in result.text


def test_several_moments_can_come_from_one_video(full_rag):
    moments = FindVideoMoment(full_rag)("red green blue yellow purple", k=5).artifact["moments"]
    assert len(moments) == 5
    assert len({moment["source"] for moment in moments}) == 2


def test_one_video_can_be_searched(full_rag):
    clip = full_rag.search("purple", k=1, kinds={"clip"}, group=False)[0]
    moments = FindVideoMoment(full_rag)("red or purple", k=5, video=clip.id).artifact["moments"]
    assert {moment["source"] for moment in moments} == {clip.source}


def test_an_index_without_videos(rag):
    result = FindVideoMoment(rag)("red")
    assert not result.is_error
    assert "There may be no videos in the index" in result.text
    assert result.artifact == {"moments": []}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": " "}, "query is empty"),
        ({"query": "red", "k": 21}, "k is 21"),
        ({"query": "red", "video": "walk.mp4"}, "'walk.mp4' is not the id of a clip"),
        ({"query": "red", "video": "0" * 32}, "is not the id of a clip"),
    ],
)
def test_a_wrong_call_is_explained(full_rag, arguments, message):
    result = FindVideoMoment(full_rag)(**arguments)
    assert result.is_error and message in result.text


def test_a_long_link_is_left_out(full_rag, monkeypatch):
    monkeypatch.setattr("florence_rag.tools.find_video_moment.MAX_LINK", 9)
    result = FindVideoMoment(full_rag)("red", k=2)
    assert result.artifact["moments"] and "file://" not in result.text
