"""METER's answer vocabulary, which its released files do not contain: read from a list, or rebuilt from VQAv2.

METER (zdou0830/METER, as ViLT before it) derives the vocabulary from VQAv2's annotations: the most common answer to
each question, normalized as in the official evaluation, if at least nine questions have it; in order of first
appearance, training questions first.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from florence_rag.errors import ModelError
from florence_rag.json_values import parse_json

MIN_QUESTIONS = 9
ANNOTATIONS = ("v2_mscoco_train2014_annotations.json", "v2_mscoco_val2014_annotations.json")

_NUMBERS = {word: str(i) for i, word in enumerate("zero one two three four five six seven eight nine ten".split())}
_NUMBERS["none"] = "0"
_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")

_ENDINGS = {
    "n't": "are ca could did does do had has have is might must need ought sha should was were wo would ai",
    "'ve": "could might must should would not they we what where who you",
    "'d": "he how it somebody someone something there they where who you",
    "'ll": "how it somebody someone something they what who why you",
    "'re": "there they what why you",
    "'s": "he how somebody someone that there what when where who why",
    "'d've": "he it she somebody someone something there they we who you",
    "n't've": "could had might should would",
}


def _contractions() -> Iterator[tuple[str, str]]:
    """Yield each contraction without one of its apostrophes, and the contraction."""
    for ending, stems in _ENDINGS.items():
        for stem in stems.split():
            whole = stem + ending
            places = [i for i, c in enumerate(whole) if c == "'"]
            # "couldnt've" and "couldn'tve" are both "couldn't've"; with one apostrophe only "couldnt" is left.
            yield from ((whole[:place] + whole[place + 1 :], whole) for place in places)
    yield from (("maam", "ma'am"), ("oclock", "o'clock"), ("twas", "'twas"), ("yall", "y'all"))


_CONTRACTIONS = dict(_contractions())


def normalize(answer: str) -> str:
    """Normalize an answer as VQA's official evaluation does: no articles or full stops, digits for zero to ten."""
    text = spaced = answer.lower()
    for mark in _PUNCTUATION:
        is_removed = f"{mark} " in text or f" {mark}" in text or _COMMA_IN_NUMBER.search(text)
        spaced = spaced.replace(mark, "" if is_removed else " ")
    words = (_NUMBERS.get(word, word) for word in _FULL_STOP.sub("", spaced).split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vocabulary(annotations: Iterable[dict[str, Any]]) -> list[str]:
    """Return the answers in the order of METER's outputs from VQAv2's annotations, training questions first."""
    common = [normalize(each["multiple_choice_answer"]) for each in annotations]
    counts = Counter(common)
    return [answer for answer in dict.fromkeys(common) if counts[answer] >= MIN_QUESTIONS]


def soft_score(agreeing: int) -> float:
    """Return the score of an answer on which so many of the ten annotators agree (VQA, as METER rounds it)."""
    return (0.0, 0.3, 0.6, 0.9)[agreeing] if agreeing < 4 else 1.0


def read_answers(path: str | Path) -> list[str]:
    """Read the answers of a VQA head; raise ModelError for any other file.

    `path` is a JSON list, a JSON object {id: answer} or {answer: id}, a text file with one answer per line, or a folder
    with VQAv2's two annotation files.
    """
    path = Path(path)
    if path.is_dir():
        return vocabulary(_annotations(path))
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix != ".json":
            return text.splitlines()
        content = parse_json(text)
        if isinstance(content, dict) and all(isinstance(value, int) for value in content.values()):
            content = {str(id): answer for answer, id in content.items()}
        if isinstance(content, dict):
            if content.keys() != {str(i) for i in range(len(content))}:
                raise ValueError("its ids are not 0, 1, 2, ...")
            content = [content[str(i)] for i in range(len(content))]
        if not isinstance(content, list) or not all(isinstance(answer, str) for answer in content):
            raise ValueError("it is neither a list of answers nor an object of ids and answers")
        return content
    except (OSError, ValueError) as error:
        raise ModelError(f"no answers can be read from {str(path)!r}: {error}") from error


def _annotations(folder: Path) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for name in ANNOTATIONS:
        try:
            annotations += parse_json((folder / name).read_bytes())["annotations"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{str(folder / name)!r} is missing or no VQAv2 file ({type(error).__name__}); "
                "get the annotations from https://visualqa.org/download.html"
            ) from error
    return annotations
