from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.embedding.base import unit_rows
from florence_rag.errors import InputError
from florence_rag.tasks.tag import TaggedItems, cross_validate, ranked, train_tagger
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame

COLORS = ("red", "blue", "green", "yellow")


@pytest.fixture
def rag(tmp_path):
    """An index of images of one to three colors in several proportions."""
    embedder = ColorEmbedder()
    rag = FlorenceRAG(MemoryIndex(embedder.info), embedder)
    mixtures = [*combinations(COLORS, 1), *product(COLORS, repeat=3)]
    for colors in {"-".join(sorted(mixture)): mixture for mixture in mixtures}.values():
        Image.fromarray(color_frame(*sorted(colors))).save(tmp_path / f"{'-'.join(sorted(colors))}.png")
    rag.add(tmp_path, near_duplicates="keep")
    return rag


def tagged_by_color(rag):
    """Tag three of four images as warm, cold or both, by their colors."""
    hits = sorted(rag.index.find(kinds={"image"}), key=lambda hit: hit.source)
    hits = [hit for number, hit in enumerate(hits) if number % 4]
    rag.set_tags({hit.id: truth(hit.source) for hit in hits})
    return {hit.id for hit in hits}


def truth(source):
    name = Path(source).stem
    return [
        tag
        for tag, colors in {"warm": "red yellow", "cold": "blue green"}.items()
        if set(name.split("-")) & {*colors.split()}
    ]


def test_tags_are_learned_from_neighbors_and_tags_by_hand_stay(rag):
    by_hand = tagged_by_color(rag)
    report = rag.tag(["warm", "cold"])
    assert report.tagged == len(by_hand) and not by_hand & {image.id for image in report.images}
    right = [set(dict(image.tags)) == set(truth(image.source)) for image in report.images]
    assert sum(right) / len(right) > 0.5
    assert report.quality is not None and report.quality.items == len(by_hand)
    assert not report.applied and all("tags_guessed" not in hit.metadata for hit in rag.index.find())


def test_applied_tags_are_found_by_filters_and_never_vote(rag):
    by_hand = tagged_by_color(rag)
    before = rag.tag()
    report = rag.tag(apply=True)
    warm = {image.id for image in report.images if "warm" in dict(image.tags)}
    found = {hit.id for hit in rag.index.find(filter={"metadata.tags": {"$has": "warm"}})}
    assert warm and found - by_hand == warm
    guessed = next(hit for hit in rag.index.find() if hit.id in warm).metadata
    assert set(guessed["tags"]) == set(guessed["tags_guessed"]) and "width" in guessed
    assert rag.tag().to_dict() == before.to_dict()


@pytest.mark.parametrize("method", ["vectors", "update_metadata"])
def test_images_that_are_deleted_meanwhile_are_left_out(rag, monkeypatch, method):
    """Another thread deletes an image, before its vector is read or before its tags are written."""
    by_hand = tagged_by_color(rag)
    expected = rag.tag()
    gone, call = expected.images[0], getattr(rag.index, method)

    def delete_before(some):
        if gone.id in some:
            rag.index.delete_sources([gone.source])
        return call(some)

    monkeypatch.setattr(rag.index, method, delete_before)
    report = rag.tag(apply=True)
    assert report.images == expected.images[1:] and report.applied and report.deleted == 1
    tagged = {hit.id for hit in rag.index.find(filter={"metadata.tags": {"$ne": None}})}
    assert tagged == by_hand | {image.id for image in report.images if image.tags}


def test_a_tagged_image_that_is_deleted_meanwhile_is_not_learned(rag, monkeypatch):
    by_hand = tagged_by_color(rag)
    gone, vectors = rag.get([min(by_hand)])[0], rag.index.vectors

    def delete_before(some):
        rag.index.delete_sources([gone.source])
        return vectors(some)

    monkeypatch.setattr(rag.index, "vectors", delete_before)
    assert rag.tag().quality.items == len(by_hand) - 1


def test_a_tag_below_the_threshold_is_removed(rag):
    tagged_by_color(rag)
    rag.tag(apply=True)
    rag.tag(apply=True, threshold=1.0)
    assert not any("tags_guessed" in hit.metadata for hit in rag.index.find())


def test_without_tags_the_labels_compete(rag):
    report = rag.tag(["red", "blue"])
    predicted = {Path(image.source).stem: image for image in report.images}
    assert dict(predicted["red"].tags) == {"red": 1.0} and dict(predicted["blue"].tags) == {"blue": 1.0}
    assert report.quality is None and report.tagged == 0
    unsure = {Path(image.source).stem for image in rag.tag(["red", "blue"], threshold=0.9).images if image.is_unsure}
    assert {"green", "yellow", "green-yellow-yellow"} <= unsure and "red" not in unsure


def test_nothing_is_written_before_the_confidences_are_calibrated(rag):
    report = rag.tag(["red", "blue"], apply=True)
    assert report.quality is None and not report.applied and report.images
    assert not any("tags" in hit.metadata for hit in rag.index.find())


def test_tags_by_hand_replace_guesses(rag):
    by_hand = tagged_by_color(rag)
    rag.tag(apply=True)
    hit = next(hit for hit in rag.index.find() if hit.id not in by_hand and "tags_guessed" in hit.metadata)
    rag.set_tags({hit.id: ["my  red", "my red"]})
    assert rag.get([hit.id])[0].metadata["tags"] == ["my red"]
    rag.set_tags({hit.id: []})
    assert "tags" not in rag.get([hit.id])[0].metadata


def test_only_tags_of_images_are_learned(rag):
    rag.items.upsert_texts(["a red text"], metadatas=[{"tags": ["of a text"]}])
    rag.set_tags({rag.search("red", k=1, kinds={"image"})[0].id: ["odd", "bright"]})
    assert rag.tag().labels == ("bright", "odd")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rag: rag.tag(), "no image has a tag yet"),
        (lambda rag: rag.tag(["red"]), "fewer than two"),
        (lambda rag: rag.tag(["red", "Red"]), "differ in case alone"),
        (lambda rag: rag.tag(["red", ""]), "is empty"),
        (lambda rag: rag.tag(["red", "blue"], threshold=2), "between 0 and 1"),
        (lambda rag: rag.set_tags({"x": ["red"]}), "no chunk has the id"),
        (lambda rag: rag.set_tags({rag.search("red", k=1)[0].id: "red"}), "must be a list of texts"),
        (lambda rag: rag.set_tags({rag.search("red", k=1)[0].id: [" "]}), "none of them empty"),
    ],
)
def test_wrong_requests_are_explained_in_one_line(rag, call, message):
    with pytest.raises(InputError, match=message) as error:
        call(rag)
    assert "\n" not in str(error.value)


LABELS = np.eye(3, 8, dtype=np.float32)


def items(n=120, seed=0, noise=0.4):
    """Return images with some of three labels, each of which has an axis of its own."""
    rng = np.random.default_rng(seed)
    has = rng.random((n, 3)) < 0.4
    return TaggedItems(unit_rows(has @ LABELS + noise * rng.normal(size=(n, 8))), has)


def test_confidences_are_calibrated():
    tagger = train_tagger(LABELS, items())
    unseen = items(400, seed=1)
    predicted = tagger.confidences(unseen.vectors)
    assert predicted.shape == (400, 3) and (predicted >= 0).all() and (predicted <= 1).all()
    for low, high in ((0.1, 0.4), (0.4, 0.7), (0.7, 1.0)):
        chosen = (predicted >= low) & (predicted < high)
        assert unseen.has[chosen].mean() == pytest.approx(predicted[chosen].mean(), abs=0.12)


def test_neighbors_suffice_without_informative_labels():
    known = items()
    wrong = np.roll(LABELS, 4, axis=1)  # labels that are unrelated to the vectors
    assert cross_validate(wrong, known, 0.5).f1 > 0.6


def test_labels_improve_on_neighbors():
    known = items(40)
    scattered = TaggedItems(unit_rows(known.vectors + 0.01), known.has)
    both = cross_validate(LABELS, scattered, 0.5)
    assert both.f1 > cross_validate(np.roll(LABELS, 4, axis=1), scattered, 0.5).f1


def test_the_quality_is_cross_validated():
    rng = np.random.default_rng(0)
    noise = TaggedItems(unit_rows(rng.normal(size=(100, 8))), rng.random((100, 3)) < 0.4)
    quality = cross_validate(LABELS, noise, 0.5)
    assert quality.recall < 0.4 and quality.items == 100 and quality.calibration_error < 0.1


@pytest.mark.parametrize("n", [0, 9])
def test_few_tagged_items_train_nothing(n):
    known = items(n) if n else TaggedItems(np.zeros((0, 8), np.float32), np.zeros((0, 3), bool))
    assert train_tagger(LABELS, known, 20.0).weights is None
    predicted = train_tagger(LABELS, known, 20.0).confidences(LABELS)
    assert predicted.argmax(axis=1).tolist() == [0, 1, 2] and np.allclose(predicted.sum(axis=1), 1)
    assert cross_validate(LABELS, known, 0.5) is None


def test_labels_of_all_or_no_items_train_nothing():
    known = items(40)
    for has in (np.zeros_like(known.has), np.ones_like(known.has)):
        assert train_tagger(LABELS, TaggedItems(known.vectors, has)).weights is None


def test_labels_are_ranked_best_first():
    assert ranked(("a", "b", "c"), np.array([0.1, 0.7, 0.7])) == [("b", 0.7), ("c", 0.7), ("a", 0.1)]
