import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.retrieval.grouping import count_groups, group_hits, overlap, temporal_nms
from florence_rag.types import Hit, Locator


def clip(source, start_s, score, kind="clip"):
    return Hit(f"{source}{start_s}", kind, source, Locator(start_s=start_s, end_s=start_s + 1.0), score)


def test_clips_of_one_video_are_grouped_under_the_best():
    hits = [clip("a.mp4", 4.0, 0.9), clip("b.mp4", 0.0, 0.8), clip("a.mp4", 1.0, 0.7), clip("a.mp4", 9.0, 0.6)]
    first, second = group_hits(hits, max_grouped=10)
    assert first.locator.start_s == 4.0
    assert [each.locator.start_s for each in first.grouped_hits] == [1.0, 9.0]
    assert (second.source, second.grouped_hits) == ("b.mp4", ())


def test_counting_groups_stops_at_enough():
    hits = [clip("a.mp4", 4.0, 0.9), clip("a.mp4", 1.0, 0.8), clip("b.mp4", 0.0, 0.7), clip("c.pdf", 0.0, 0.6, "page")]
    assert [count_groups(hits, most) for most in (1, 2, 3, 9)] == [1, 2, 3, 3] and count_groups([], 5) == 0
    rest = iter(hits)
    assert count_groups(rest, 1) == 1 and next(rest) is hits[1]


def test_pages_and_passages_of_one_file_stay_apart():
    hits = [clip("a.pdf", 0.0, 0.9, "page"), clip("a.pdf", 1.0, 0.8, "page"), clip("a.pdf", 2.0, 0.7, "text")]
    assert group_hits(hits, max_grouped=10) == hits


def test_grouped_hits_are_limited_to_the_best():
    hits = [clip("a.mp4", float(i), 1.0 - i / 10) for i in range(5)]
    (video,) = group_hits(hits, max_grouped=2)
    assert [each.locator.start_s for each in video.grouped_hits] == [1.0, 2.0]


def region(source, box, score, **fields):
    return Hit(f"{source}{box}", "image", source, Locator(box=box), score, **fields)


def test_regions_of_one_image_are_grouped_under_the_best():
    part, whole = (0.1, 0.1, 0.2, 0.2), None
    hits = [region("a.jpg", part, 0.9), region("b.jpg", whole, 0.8), region("a.jpg", whole, 0.7)]
    first, second = group_hits(hits, max_grouped=10)
    assert (first.locator.box, [each.locator.box for each in first.grouped_hits]) == (part, [whole])
    assert second.grouped_hits == ()


def test_items_stay_separate_even_if_they_name_one_source():
    hits = [region("page.html", (0.0, 0.0, 0.1 * i, 1.0), 1.0, is_item=True) for i in (1, 2)]
    assert group_hits(hits, max_grouped=10) == hits


def moment(start_s, end_s, source="/a"):
    return Hit(f"{source}{start_s}{end_s}", "clip", source, Locator(start_s=start_s, end_s=end_s), 1.0)


def test_moments_that_overlap_a_better_one_are_removed():
    hits = [moment(0, 4), moment(1, 4), moment(3, 8), moment(1, 4, "/b"), moment(20, 21)]
    assert temporal_nms(hits, 5) == [hits[0], hits[2], hits[3], hits[4]]
    assert temporal_nms(hits, 2) == [hits[0], hits[2]]
    assert temporal_nms([], 2) == []


@given(*[st.tuples(st.floats(0, 100), st.floats(0.01, 50))] * 2)
def test_overlap_is_a_symmetric_share(one, other):
    one, other = (one[0], one[0] + one[1]), (other[0], other[0] + other[1])
    assert 0 <= overlap(one, other) == overlap(other, one) <= 1
    assert overlap(one, one) == pytest.approx(1)
