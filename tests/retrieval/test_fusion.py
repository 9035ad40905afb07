from dataclasses import replace

import pytest

from florence_rag.retrieval.fusion import RankedHit, RetrievalBranch, rank_regions, replace_fields
from florence_rag.retrieval.fusion import fuse as fuse_by_rank
from florence_rag.types import Hit, Locator


def fuse(branches, rrf_k=60):
    return fuse_by_rank(branches, rrf_k)


def hit(name):
    return Hit(id=name, kind="image", source=f"/{name}.jpg", locator=Locator(), score=0.0)


def branch(weight, *names):
    return RetrievalBranch(weight, [RankedHit(hit(name), evidence=f"{name} by {weight}") for name in names])


def test_the_first_hit_of_a_branch_scores_its_weight():
    assert [h.score for h in fuse([branch(1.0, "a")])] == [1.0]


def test_scores_follow_the_formula():
    scores = {h.id: h.score for h in fuse([branch(1.0, "a", "b"), branch(0.5, "b")], rrf_k=10)}
    assert scores == {"a": pytest.approx(1.0), "b": pytest.approx(11 / 12 + 0.5)}


def test_agreement_of_two_branches_beats_the_first_place_of_one():
    assert [h.id for h in fuse([branch(1.0, "a", "b"), branch(1.0, "c", "b")])] == ["b", "a", "c"]


def test_a_hit_counts_by_its_strength():
    weak, strong = RankedHit(hit("weak"), 0.4), RankedHit(hit("strong"), 0.8)
    assert [h.id for h in fuse([RetrievalBranch(1.0, [weak, strong])])] == ["strong", "weak"]


def test_a_tie_keeps_the_order_of_the_branches():
    assert [h.id for h in fuse([branch(1.0, "a"), branch(0.75, "b"), branch(0.25, "b")])] == ["a", "b"]


def test_each_hit_appears_once_with_all_evidence_the_strongest_first():
    (only,) = fuse([branch(0.5, "a"), branch(1.0, "a")])
    assert only.explanation == "a by 1.0; a by 0.5"


def test_no_branches_have_no_hits():
    assert fuse([]) == []


def scored(source, score, box=None, kind="image"):
    return Hit(f"{source}{box}", kind, source, Locator(box=box), score)


BOX = (0.0, 0.0, 0.5, 0.5)


def test_without_regions_the_order_stays():
    hits = [scored("a", 0.9), scored("b.pdf", 0.8, BOX, "page"), scored("c", 0.8)]
    assert rank_regions(hits) == hits
    assert rank_regions([]) == []


def test_of_two_similar_regions_the_one_of_the_better_image_is_first():
    worse, better = scored("a", 0.61, BOX), scored("b", 0.60, BOX)
    ranked = rank_regions([worse, better, scored("b", 0.5), scored("a", 0.1)])
    assert ranked == [better, scored("b", 0.5), worse, scored("a", 0.1)]
    assert [each.score for each in ranked] == [0.60, 0.5, 0.61, 0.1]


def test_a_whole_image_that_fits_comes_before_a_region_that_fits_in_part():
    half, whole = scored("a", 0.42, BOX), scored("b", 0.4)
    assert rank_regions([half, whole, scored("a", 0.1)])[0] == whole


def test_regions_of_images_that_were_not_found_keep_their_order():
    hits = [scored("a", 0.9, BOX), scored("b", 0.7, BOX), scored("c", 0.3, BOX)]
    assert rank_regions(hits) == hits


def test_a_changed_copy_of_a_hit_has_all_other_fields():
    hit = Hit("1", "image", "/a.jpg", Locator(page=2), 0.5, "text", "caption", "ocr", "why", {"a": 1}, (), True, 0.9)
    changes = {"score": 0.7, "explanation": "other", "grouped_hits": (hit,)}
    assert replace_fields(hit, **changes) == replace(hit, **changes) and hit.score == 0.5
