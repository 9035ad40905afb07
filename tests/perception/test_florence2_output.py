import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.perception.base import Detection
from florence_rag.perception.florence2_output import to_lines, to_outlines, to_regions, to_text
from tests.perception.tiny import processor

CAR = (
    "</s><s>car<loc_52><loc_334><loc_932><loc_774>"
    "wheel<loc_708><loc_600><loc_850><loc_772><loc_100><loc_0><loc_200><loc_999></s>"
)
TRIANGLE = "<loc_1><loc_1><loc_2><loc_1><loc_2><loc_2>"


def region(label, *bins):
    return Detection(label, tuple((bin_ + 0.5) / 1000 for bin_ in bins))


@pytest.mark.parametrize("task", ["<CAPTION>", "<DETAILED_CAPTION>", "<MORE_DETAILED_CAPTION>", "<OCR>"])
def test_markup_is_removed_from_text(task):
    output = "</s><s>A green car,  parked: 3 < 5.</s><pad><pad>"
    assert to_text(output) == "A green car, parked: 3 < 5."
    assert processor().post_process_generation(output.replace("<pad>", ""), task=task, image_size=(9, 9))


def test_locations_are_removed_from_text():
    assert to_text("</s><s>a car<loc_1><loc_2> and<sep>a bus<poly><loc_3></poly></s>") == "a car and a bus"


@pytest.mark.parametrize("task", ["<OD>", "<DENSE_REGION_CAPTION>", "<CAPTION_TO_PHRASE_GROUNDING>"])
def test_each_box_is_a_region_with_the_label_before_it(task):
    assert to_regions(CAR) == [
        region("car", 52, 334, 932, 774),
        region("wheel", 708, 600, 850, 772),
        region("wheel", 100, 0, 200, 999),
    ]


def test_proposals_have_no_labels():
    output = "</s><s><loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8></s>"
    assert to_regions(output) == [region("", 1, 2, 3, 4), region("", 5, 6, 7, 8)]


def test_open_vocabulary_detection_gives_boxes_or_outlines():
    assert to_regions("</s><s>a cat<loc_1><loc_2><loc_3><loc_4></s>") == [region("a cat", 1, 2, 3, 4)]
    (cat,) = to_regions("a cat<poly><loc_0><loc_0><loc_9><loc_0><loc_9><loc_9></poly>")
    assert (cat.label, cat.box) == ("a cat", (0.0005, 0.0005, 0.0095, 0.0095))
    assert cat.polygons == (((0.0005, 0.0005), (0.0095, 0.0005), (0.0095, 0.0095)),)


def test_an_outline_is_a_sequence_of_points():
    (thing,) = to_outlines("</s><s><loc_100><loc_50><loc_300><loc_60><loc_200><loc_700></s>")
    assert thing.polygons == (((0.1005, 0.0505), (0.3005, 0.0605), (0.2005, 0.7005)),)
    assert thing.box == (0.1005, 0.0505, 0.3005, 0.7005)


def test_there_may_be_several_objects_with_several_outlines():
    one, two = to_outlines(f"<poly>{TRIANGLE}<sep>{TRIANGLE}</poly><poly>{TRIANGLE}</poly>")
    assert (len(one.polygons), len(two.polygons)) == (2, 1)


def test_the_four_corners_of_a_line_become_an_upright_box():
    tilted = "</s><s>STOP<loc_100><loc_200><loc_300><loc_180><loc_310><loc_280><loc_90><loc_290>GO 3<loc_0>"
    assert to_lines(tilted) == [("STOP", (0.0905, 0.1805, 0.3105, 0.2905))]


def test_letters_of_all_scripts_are_kept():
    assert to_regions("café<loc_1><loc_2><loc_3><loc_4>猫<loc_1><loc_2><loc_3><loc_4>")[0].label == "café"
    assert to_lines("出口" + "<loc_5>" * 8)[0][0] == "出口"


def test_exchanged_corners_are_corrected():
    assert to_regions("car<loc_9><loc_8><loc_1><loc_2>") == [region("car", 1, 2, 9, 8)]


@pytest.mark.parametrize("end", range(len(CAR)))
def test_truncated_output_keeps_its_complete_parts(end):
    whole = to_regions(CAR)
    assert to_regions(CAR[:end]) == whole[: len(to_regions(CAR[:end]))]


def test_truncated_outlines_are_closed_and_truncated_lines_dropped():
    assert len(to_outlines(f"{TRIANGLE}<loc_7>")[0].polygons[0]) == 3
    assert to_outlines("<loc_1><loc_1><loc_2><loc_1>") == []
    assert [text for text, _ in to_lines("A" + "<loc_1>" * 8 + "B" + "<loc_1>" * 7)] == ["A"]


@pytest.mark.parametrize(
    ("task", "output"),
    [
        ("<OD>", CAR),
        ("<DENSE_REGION_CAPTION>", CAR),
        ("<CAPTION_TO_PHRASE_GROUNDING>", CAR),
        ("<OPEN_VOCABULARY_DETECTION>", CAR),
        ("<REGION_PROPOSAL>", "</s><s><loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8></s>"),
    ],
)
def test_boxes_equal_those_of_transformers(task, output):
    reference = processor().post_process_generation(output, task=task, image_size=(1000, 1000))[task]
    ours = [[int(edge * 1000) for edge in each.box] for each in to_regions(output)]
    assert ours == reference["bboxes"] and ours
    if task != "<REGION_PROPOSAL>":
        assert [each.label for each in to_regions(output)] == reference.get("labels", reference.get("bboxes_labels"))


def test_outlines_and_lines_equal_those_of_transformers():
    drawn = f"</s><s><loc_100><loc_50><loc_300><loc_60><loc_200><loc_700><sep>{TRIANGLE}</s>"
    task = "<REFERRING_EXPRESSION_SEGMENTATION>"
    reference = processor().post_process_generation(drawn, task=task, image_size=(1000, 1000))[task]["polygons"]
    (thing,) = to_outlines(drawn)
    assert [[[int(1000 * edge) for point in line for edge in point] for line in thing.polygons]] == reference

    read = "</s><s>STOP<loc_100><loc_200><loc_300><loc_180><loc_310><loc_280><loc_90><loc_290></s>"
    task = "<OCR_WITH_REGION>"
    quad = processor().post_process_generation(read.replace("</s>", ""), task=task, image_size=(1000, 1000))[task]
    assert quad["labels"] == [text for text, _ in to_lines(read)]
    (box,) = [[int(1000 * edge) for edge in box] for _, box in to_lines(read)]
    ((*edges,),) = quad["quad_boxes"]
    assert box == [min(edges[::2]), min(edges[1::2]), max(edges[::2]), max(edges[1::2])]


PIECES = st.one_of(
    st.integers(-1, 10**6).map(lambda bin_: f"<loc_{bin_}>"),
    st.sampled_from(["<poly>", "</poly>", "<sep>", "<s>", "</s>", "<pad>", "<loc_", "<", ">", "loc_5>", "<od>", "\n"]),
    st.text(max_size=5),
)


@given(st.lists(PIECES, max_size=60).map("".join))
def test_arbitrary_output_never_raises_and_stays_within_the_image(output):
    boxes = [box for _, box in to_lines(output)]
    regions = [*to_regions(output), *to_outlines(output)]
    for left, top, right, bottom in [*boxes, *(each.box for each in regions)]:
        assert 0 <= left <= right <= 1 and 0 <= top <= bottom <= 1
    for line in [line for each in regions for line in each.polygons]:
        assert len(line) >= 3 and all(0 <= edge <= 1 for point in line for edge in point)
    assert not re.search(r"<loc_[0-9]{1,3}>|<poly>|<sep>|</s>", "".join(each.label for each in regions))
    assert to_text(output) == to_text(output).strip()
