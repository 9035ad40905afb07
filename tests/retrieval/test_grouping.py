from florence_rag.retrieval.grouping import group_hits
from florence_rag.types import Hit, Locator


def clip(source, start_s, score, kind="clip"):
    return Hit(f"{source}{start_s}", kind, source, Locator(start_s=start_s, end_s=start_s + 1.0), score)


def test_clips_of_one_video_become_moments_of_its_best():
    hits = [clip("a.mp4", 4.0, 0.9), clip("b.mp4", 0.0, 0.8), clip("a.mp4", 1.0, 0.7), clip("a.mp4", 9.0, 0.6)]
    first, second = group_hits(hits, max_grouped=10)
    assert first.locator.start_s == 4.0
    assert [moment.locator.start_s for moment in first.grouped_hits] == [1.0, 9.0]
    assert (second.source, second.grouped_hits) == ("b.mp4", ())


def test_pages_and_passages_of_one_file_stay_apart():
    hits = [clip("a.pdf", 0.0, 0.9, "page"), clip("a.pdf", 1.0, 0.8, "page"), clip("a.pdf", 2.0, 0.7, "text")]
    assert group_hits(hits, max_grouped=10) == hits


def test_moments_are_limited_to_the_best():
    hits = [clip("a.mp4", float(i), 1.0 - i / 10) for i in range(5)]
    (video,) = group_hits(hits, max_grouped=2)
    assert [moment.locator.start_s for moment in video.grouped_hits] == [1.0, 2.0]


def region(source, box, score, **given):
    return Hit(f"{source}{box}", "image", source, Locator(box=box), score, **given)


def test_parts_of_one_image_become_moments_of_its_best():
    part, whole = (0.1, 0.1, 0.2, 0.2), None
    hits = [region("a.jpg", part, 0.9), region("b.jpg", whole, 0.8), region("a.jpg", whole, 0.7)]
    first, second = group_hits(hits, max_grouped=10)
    assert (first.locator.box, [moment.locator.box for moment in first.grouped_hits]) == (part, [whole])
    assert second.grouped_hits == ()


def test_pictures_that_a_program_gave_stay_apart_whatever_source_they_name():
    hits = [region("page.html", (0.0, 0.0, 0.1 * i, 1.0), 1.0, is_item=True) for i in (1, 2)]
    assert group_hits(hits, max_grouped=10) == hits
