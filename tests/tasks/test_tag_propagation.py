import numpy as np
import pytest

from florence_rag.embedding.base import unit_rows
from florence_rag.tasks.tag import TaggedItems, cross_validate, ranked, train_tagger

LABELS = np.eye(3, 8, dtype=np.float32)


def items(n=120, seed=0, noise=0.4):
    """Pictures with one or two of three labels, each of which points along its own axis."""
    rng = np.random.default_rng(seed)
    has = rng.random((n, 3)) < 0.4
    return TaggedItems(unit_rows(has @ LABELS + noise * rng.normal(size=(n, 8))), has)


def test_a_confidence_is_right_as_often_as_it_says():
    tagger = train_tagger(LABELS, items())
    unseen = items(400, seed=1)
    said = tagger.confidences(unseen.vectors)
    assert said.shape == (400, 3) and (said >= 0).all() and (said <= 1).all()
    for low, high in ((0.1, 0.4), (0.4, 0.7), (0.7, 1.0)):
        chosen = (said >= low) & (said < high)
        assert unseen.has[chosen].mean() == pytest.approx(said[chosen].mean(), abs=0.12)


def test_neighbors_tell_what_labels_do_not():
    known = items()
    wrong = np.roll(LABELS, 4, axis=1)  # labels of which the vectors know nothing
    assert cross_validate(wrong, known, 0.5).f1 > 0.6


def test_labels_tell_what_neighbors_do_not():
    known = items(40)
    scattered = TaggedItems(unit_rows(known.vectors + 0.01), known.has)
    both = cross_validate(LABELS, scattered, 0.5)
    assert both.f1 > cross_validate(np.roll(LABELS, 4, axis=1), scattered, 0.5).f1


def test_agreement_is_of_items_left_out():
    rng = np.random.default_rng(0)
    noise = TaggedItems(unit_rows(rng.normal(size=(100, 8))), rng.random((100, 3)) < 0.4)
    quality = cross_validate(LABELS, noise, 0.5)
    assert quality.recall < 0.4 and quality.items == 100 and quality.calibration_error < 0.1


@pytest.mark.parametrize("n", [0, 9])
def test_few_tagged_items_calibrate_nothing(n):
    known = items(n) if n else TaggedItems(np.zeros((0, 8), np.float32), np.zeros((0, 3), bool))
    assert train_tagger(LABELS, known, 20.0).weights is None
    said = train_tagger(LABELS, known, 20.0).confidences(LABELS)
    assert said.argmax(axis=1).tolist() == [0, 1, 2] and np.allclose(said.sum(axis=1), 1)
    assert cross_validate(LABELS, known, 0.5) is None


def test_labels_that_all_or_none_have_teach_nothing():
    known = items(40)
    for has in (np.zeros_like(known.has), np.ones_like(known.has)):
        assert train_tagger(LABELS, TaggedItems(known.vectors, has)).weights is None


def test_ranked_is_best_first():
    assert ranked(("a", "b", "c"), np.array([0.1, 0.7, 0.7])) == [("b", 0.7), ("c", 0.7), ("a", 0.1)]
