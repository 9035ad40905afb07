"""Decides when two questions are the same: by their words, in their order, and not by their vectors.

Vectors of "what is left of the car?" and "what is right of the car?" hardly differ, nor do those of two colors, two
numbers, or a sentence and its negation. So two questions are the same only if they differ in ways that cannot change
the meaning: case and punctuation, articles, spellings, numbers as words, and common ways to ask for a color, a count,
or whether an object is there. Any other difference makes them different, which costs one call of the model.
"""

import re

from florence_rag.tokenize import split_words

_CONTRACTIONS = (("n't", " not"), ("'s", " is"), ("'re", " are"))
_NUMBERS = "zero one two three four five six seven eight nine ten".split()
_SPELLINGS = {
    **{word: str(number) for number, word in enumerate(_NUMBERS)},
    "colour": "color",
    "grey": "gray",
    "which": "what",
    "photo": "image",
    "photograph": "image",
    "picture": "image",
    "bike": "bicycle",
}
_IGNORED = {"the", "a", "an", "please"}
_FORMS = (
    (r"^(?:can|could) you tell me ", "tell me "),
    (r"\bbeside\b", "next to"),
    (r" in (?:this )?image$", ""),
    (r"^(?:what is|tell me) color of ", "what color is "),
    (r"^what color does (.+) have$", r"what color is \1"),
    (r"^(?:can|do) you see (?!what|how|where|who|when)", "is there "),
    (r"^does (?:this )?image show ", "is there "),
    (r"^how many (.+) (?:are there|can you see|do you see|are visible)$", r"how many \1"),
    (r"^how many (.+) does (?:this )?image show$", r"how many \1"),
    (r"^(how many \S+) are$", r"\1"),
)


def question_key(question: str) -> str:
    """Return a normalized question, equal for questions with the same meaning; "" for one without words."""
    text = question.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    for short, long in _CONTRACTIONS:
        text = re.sub(rf"{short}\b", long, text)
    spellings = (word.spelling for word in split_words(text))  # accents tell words apart in many languages
    key = " ".join(_SPELLINGS.get(word, word) for word in spellings if word not in _IGNORED)
    for pattern, form in _FORMS:
        key = re.sub(pattern, form, key)
    return key
