from florence_rag.retrieval.regions import rank_regions
from florence_rag.types import Hit, Locator


def hit(source, score, box=None, kind="image"):
    return Hit(f"{source}{box}", kind, source, Locator(box=box), score)


PART = (0.0, 0.0, 0.5, 0.5)


def test_without_regions_nothing_changes():
    hits = [hit("a", 0.9), hit("b.pdf", 0.8, PART, "page"), hit("c", 0.8)]
    assert rank_regions(hits) == hits
    assert rank_regions([]) == []


def test_of_two_regions_that_look_alike_that_of_the_better_picture_goes_first():
    worse, better = hit("a", 0.61, PART), hit("b", 0.60, PART)
    ranked = rank_regions([worse, better, hit("b", 0.5), hit("a", 0.1)])
    assert ranked == [better, hit("b", 0.5), worse, hit("a", 0.1)]
    assert [each.score for each in ranked] == [0.60, 0.5, 0.61, 0.1]


def test_a_whole_picture_that_says_it_all_goes_before_a_region_that_says_half():
    half, whole = hit("a", 0.42, PART), hit("b", 0.4)
    assert rank_regions([half, whole, hit("a", 0.1)])[0] == whole


def test_regions_of_pictures_that_were_not_found_keep_their_order():
    hits = [hit("a", 0.9, PART), hit("b", 0.7, PART), hit("c", 0.3, PART)]
    assert rank_regions(hits) == hits
