"""Captions, claims and questions are checked by reading their words back, by other means than made them."""

import random
import re
from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.florence_tiny.synthetic.captions import canonical_caption, caption
from recipes.florence_tiny.synthetic.questions import questions
from recipes.florence_tiny.synthetic.scene import CATEGORIES, COLORS, HELD_OUT, sample_scene
from recipes.florence_tiny.synthetic.statements import Statement, sample_statement, statement_text, truth_table
from recipes.florence_tiny.synthetic.vocabulary import ANSWERS

COLOR = "red|blue|green|yellow|orange|purple|white|black"
NOUN = "car|bus|bicycle|bike|dog|tree|house|fire hydrant|hydrant|street sign|sign|thing"
MENTION = re.compile(
    rf"(?:\b({COLOR}) )?\b({NOUN})(?:e?s)?\b|\b(person|people)\b(?: (?:in|wearing) ({COLOR})\b)?", re.IGNORECASE
)
SYNONYMS = {"bike": "bicycle", "fire hydrant": "hydrant", "street sign": "sign", "people": "person"}
NEXT_TO = re.compile(r"\b(next to|beside|close to|alongside|parked by|standing by)\b")

seeds = st.integers(0, 2**32)
kinds = st.sampled_from(["seen", "any", "held-out"])
more_examples = settings(max_examples=300)


def mentions(text):
    """[(object, colour or None)] in the order of the words."""
    found = []
    for color, noun, person, worn in MENTION.findall(text):
        noun = (noun or person).lower()
        found.append((SYNONYMS.get(noun, noun), (color or worn).lower() or None))
    return found


def fitting(scene, mention):
    name, color = mention
    return [t for t in scene.objects if name in (t.category, "thing") and color in (None, t.color)]


def pairs(scene, text):
    """Pairs of distinct things that stand as the two mentions of the text demand."""
    one, other = mentions(text)
    candidates = [(a, b) for a in fitting(scene, one) for b in fitting(scene, other) if a is not b]
    if NEXT_TO.search(text):
        return [(a, b) for a, b in candidates if abs(a.slot - b.slot) == 1]
    side = re.search(r"\b(left|right) of\b", text)
    if side:
        return [(a, b) for a, b in candidates if (a.slot < b.slot) == (side[1] == "left")]
    return candidates


def is_true(scene, text):
    return bool(pairs(scene, text) if len(mentions(text)) == 2 else fitting(scene, mentions(text)[0]))


def right_answer(scene, text, kind):
    """Raises where not exactly one answer is right."""
    if kind == "existence":
        return "yes" if is_true(scene, text) else "no"
    if kind == "count":
        return str(len(fitting(scene, mentions(text)[0])))
    if kind == "color":
        return color_asked_for(scene, text)
    objects = [only(fitting(scene, mention)) for mention in mentions(text)]
    if kind == "next-to":
        neighbor = only([t for t in scene.objects if abs(t.slot - objects[0].slot) == 1])
        return "fire hydrant" if neighbor.category == "hydrant" else neighbor.category
    it, other = reversed(objects) if "which side of" in text.lower() else objects
    return "left" if it.slot < other.slot else "right"


def color_asked_for(scene, text):
    if len(mentions(text)) == 1:
        return only(fitting(scene, mentions(text)[0])).color
    only(fitting(scene, mentions(text)[1]))
    return only([one for one, _ in pairs(scene, text)]).color


def only(objects):
    assert len(objects) == 1, f"ambiguous: {objects}"
    return objects[0]


@more_examples
@given(seeds, kinds)
def test_every_question_has_one_right_answer(seed, combinations):
    rng = random.Random(seed)
    scene = sample_scene(rng, combinations)
    for question in questions(scene, rng, 10):
        assert question.answer == right_answer(scene, question.text, question.type), question.text
        assert question.answer in ANSWERS
        assert (question.statement is None) == (question.type in ("count", "existence"))
        assert question.statement is None or question.statement.holds(scene)


@more_examples
@given(seeds, kinds, st.booleans())
def test_statements_hold_or_fail_as_requested_and_so_do_their_texts(seed, combinations, holds):
    rng = random.Random(seed)
    scene, other = sample_scene(rng, combinations), sample_scene(rng, combinations)
    statement = sample_statement(scene, rng, holds)
    text = statement_text(statement, rng)
    assert statement.holds(scene) == holds
    assert mentions(text) == list(statement.descriptions)
    assert is_true(scene, text) == holds, text
    assert is_true(other, text) == statement.holds(other), text


@more_examples
@given(seeds, kinds)
def test_captions_name_everything_from_left_to_right(seed, combinations):
    rng = random.Random(seed)
    scene = sample_scene(rng, combinations)
    everything = [(t.category, t.color) for t in scene.objects]
    for text in (canonical_caption(scene), *(caption(scene, rng) for _ in range(5))):
        assert mentions(text) == everything, text
        assert text.isascii()


@more_examples
@given(seeds)
def test_captions_that_speak_of_nearness_are_true(seed):
    """Every "next to" in a caption joins two things that do stand in adjacent slots, and a gap is never called so."""
    rng = random.Random(seed)
    scene = sample_scene(rng)
    text = caption(scene, rng)
    between = MENTION.sub("#", text).split("#")[1:-1]
    for words, (one, other) in zip(between, pairwise(scene.objects), strict=True):
        words = re.sub("^ (further|some way to the) right", "", words)
        if "further" in words or "gap" in words or "some way" in words:
            assert other.slot > one.slot + 1
        elif NEXT_TO.search(words) or "directly" in words:
            assert other.slot == one.slot + 1


def test_scenes_of_different_content_have_different_captions():
    rng = random.Random(0)
    content = {}
    for _ in range(3000):
        scene = sample_scene(rng, "any")
        key = canonical_caption(scene)
        assert content.setdefault(caption(scene, rng), key) == key
    assert len(set(content.values())) > 2500


@given(seeds)
def test_training_never_names_held_out_combinations(seed):
    rng = random.Random(seed)
    scene = sample_scene(rng, "seen")
    texts = [question.text for question in questions(scene, rng, 10)]
    texts += [statement_text(sample_statement(scene, rng, holds), rng) for holds in (True, False)]
    named = {(color, name) for text in texts for name, color in mentions(text)}
    assert not named & HELD_OUT


def test_held_out_scenes_have_questions_about_held_out_combinations_with_yes_and_no():
    rng = random.Random(0)
    answers = Counter()
    for _ in range(2000):
        for question in questions(sample_scene(rng, "held-out"), rng, 5):
            if question.type == "existence" and {(c, n) for n, c in mentions(question.text)} & HELD_OUT:
                answers[question.answer] += 1
    assert min(answers["yes"], answers["no"]) > 100


def test_questions_are_balanced_over_types_and_answers():
    rng = random.Random(0)
    asked = [question for _ in range(1500) for question in questions(sample_scene(rng), rng, 5)]
    types = Counter(question.type for question in asked)
    assert len(types) == 5 and min(types.values()) > 0.12 * len(asked)
    for kind, least in (
        ("existence", 0.45),
        ("left-right", 0.45),
        ("count", 0.07),
        ("color", 0.08),
        ("next-to", 0.07),
    ):
        answers = Counter(question.answer for question in asked if question.type == kind)
        assert min(answers.values()) > least * types[kind], (kind, answers)
    assert {question.answer for question in asked} == set(ANSWERS)


def test_color_questions_often_need_a_relation():
    rng = random.Random(0)
    scenes = [sample_scene(rng) for _ in range(1500)]
    asked = [(scene, q) for scene in scenes for q in questions(scene, rng, 5) if q.type == "color"]
    needed = [q for scene, q in asked if len(fitting(scene, mentions(q.text)[0])) > 1]
    assert len(needed) > 0.2 * len(asked)
    assert any(q.statement.relation == "next to" for q in needed)


def test_wording_varies():
    rng = random.Random(0)
    patterns = {}
    for _ in range(800):
        for question in questions(sample_scene(rng), rng, 5):
            patterns.setdefault(question.type, set()).add(MENTION.sub("#", question.text.lower().rstrip("?.")))
    assert all(len(wordings) >= 6 for wordings in patterns.values())


def test_the_same_seed_gives_the_same_words():
    def words(seed):
        rng = random.Random(seed)
        scene = sample_scene(rng)
        return caption(scene, rng), questions(scene, rng, 8), sample_statement(scene, rng, False)

    assert words(4) == words(4) != words(5)


descriptions = st.tuples(st.sampled_from(CATEGORIES), st.sampled_from([None, *COLORS]))
statements = st.one_of(
    st.builds(Statement, descriptions),
    st.builds(Statement, descriptions, st.sampled_from([None, "next to", "left of", "right of"]), descriptions),
)


@more_examples
@given(st.lists(statements, min_size=1, max_size=30), st.lists(seeds, min_size=1, max_size=5))
def test_the_truth_table_agrees_with_holds(some_claims, some_seeds):
    scenes = [sample_scene(random.Random(seed), "any") for seed in some_seeds]
    some_claims += [
        sample_statement(scene, random.Random(seed), True) for scene, seed in zip(scenes, some_seeds, strict=True)
    ]
    table = truth_table(some_claims, scenes)
    assert table.dtype == bool and table.shape == (len(some_claims), len(scenes))
    assert np.array_equal(table, [[statement.holds(scene) for scene in scenes] for statement in some_claims])
