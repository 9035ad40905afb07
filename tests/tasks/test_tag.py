from itertools import combinations, product
from pathlib import Path

import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.errors import InputError
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame

COLORS = ("red", "blue", "green", "yellow")


@pytest.fixture
def rag(tmp_path):
    """Pictures of one to three colours, more or less of each."""
    embedder = ColorEmbedder()
    rag = FlorenceRAG(MemoryIndex(embedder.info), embedder)
    mixtures = [*combinations(COLORS, 1), *product(COLORS, repeat=3)]
    for colors in {"-".join(sorted(mixture)): mixture for mixture in mixtures}.values():
        Image.fromarray(color_frame(*sorted(colors))).save(tmp_path / f"{'-'.join(sorted(colors))}.png")
    rag.add(tmp_path, near_duplicates="keep")
    return rag


def tagged_by_color(rag):
    """Three of four pictures get the tags warm and cold, as its colours are."""
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


def test_tags_are_learned_from_neighbors_and_leave_those_of_people_alone(rag):
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


def test_what_is_no_longer_said_is_taken_back(rag):
    tagged_by_color(rag)
    rag.tag(apply=True)
    rag.tag(apply=True, threshold=1.0)
    assert not any("tags_guessed" in hit.metadata for hit in rag.index.find())


def test_without_tags_the_labels_compete(rag):
    report = rag.tag(["red", "blue"])
    said = {Path(image.source).stem: image for image in report.images}
    assert dict(said["red"].tags) == {"red": 1.0} and dict(said["blue"].tags) == {"blue": 1.0}
    assert report.quality is None and report.tagged == 0
    unsure = {Path(image.source).stem for image in rag.tag(["red", "blue"], threshold=0.9).images if image.is_unsure}
    assert {"green", "yellow", "green-yellow-yellow"} <= unsure and "red" not in unsure


def test_tags_by_hand_replace_guesses(rag):
    rag.tag(["red", "blue"], apply=True)
    (hit,) = rag.search("red", k=1)
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
        (lambda rag: rag.set_tags({rag.search("red", k=1)[0].id: "red"}), "give a list of words"),
        (lambda rag: rag.set_tags({rag.search("red", k=1)[0].id: [" "]}), "none of them empty"),
    ],
)
def test_bad_requests_are_one_line(rag, call, message):
    with pytest.raises(InputError, match=message) as error:
        call(rag)
    assert "\n" not in str(error.value)
