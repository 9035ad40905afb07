"""When two questions ask the same: by their words, in their order, and not by their vectors.

Vectors of "what is left of the car?" and "what is right of the car?" hardly differ, nor do those of two colours, two
numbers, or a sentence and its negation. So equal is only what differs in wording that can have no meaning: case and
punctuation, articles, spellings, numbers as words, and a few ways to ask for a colour, a count, or whether a thing is
there. What is in doubt counts as different, and costs one look.
"""

from __future__ import annotations

import re

from florence_rag.tokenize import words

_CONTRACTIONS = (("n't", " not"), ("'s", " is"), ("'re", " are"))
_SPELLINGS = {
    **{
        word: str(number) for number, word in enumerate("zero one two three four five six seven eight nine ten".split())
    },
    "color": "colour",
    "gray": "grey",
    "which": "what",
    "photo": "picture",
    "photograph": "picture",
    "image": "picture",
    "bike": "bicycle",
}
_EMPTY = {"the", "a", "an", "please"}
_FORMS = tuple(
    (re.compile(pattern), form)
    for pattern, form in (
        (r"^(?:can|could) you tell me ", "tell me "),
        (r"\bnext to\b", "beside"),
        (r" in (?:this )?picture$", ""),
        (r"^(?:what is|tell me) colour of ", "what colour is "),
        (r"^what colour does (.+) have$", r"what colour is \1"),
        (r"^(?:can|do) you see (?!what|how|where|who|when)", "is there "),
        (r"^does (?:this )?picture show ", "is there "),
        (r"^how many (.+) (?:are there|can you see|do you see|are visible)$", r"how many \1"),
        (r"^how many (.+) does (?:this )?picture show$", r"how many \1"),
        (r"^(how many \S+) are$", r"\1"),
    )
)


def question_key(question: str) -> str:
    """Equal for questions that ask the same; "" for one without words."""
    text = question.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    for short, whole in _CONTRACTIONS:
        text = re.sub(rf"{short}\b", whole, text)
    key = " ".join(_SPELLINGS.get(word, word) for word in words(text) if word not in _EMPTY)
    for pattern, form in _FORMS:
        key = pattern.sub(form, key)
    return key
