"""Splits an answer into claims, and reads what a claim states about an image, by rules for English.

    "The car is blue [1], and there are three people." -> "The car is blue", cited 1; "there are three people"
    "The car is blue" -> an object that is a "blue car"
    "there are three people" -> 3 objects that are a "person"

A sentence that no rule reads states nothing that an image can confirm or refute.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from florence_rag.answering.extractive import sentences
from florence_rag.tokenize import STOP_WORDS

COLORS = frozenset(
    "red blue green yellow orange purple white black brown gray grey pink beige silver gold golden".split()
)
NUMBERS = {
    word: number
    for number, word in enumerate(
        """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
        seventeen eighteen nineteen twenty""".split()
    )
}
_PEOPLE = frozenset("person man woman child boy girl people men women children boys girls".split())
_PLURALS = {"person": "people", "man": "men", "woman": "women", "child": "children", "mouse": "mice", "foot": "feet"}
_SINGULARS = {plural: singular for singular, plural in _PLURALS.items()}

_IMAGE = r"(?:image|picture|photo|photograph|scene|street|frame|page|video|clip|screenshot)"
_OPENING = re.compile(rf"(?:(?:yes|no|well|so|also|finally|here),? )?(?:in|on|according to) (?:the|this) {_IMAGE},? ")
_ENDING = re.compile(rf" (?:in|on|of) (?:the|this) {_IMAGE}$")
_SHOWS = re.compile(
    rf"(?:there (?:is|are|was|were)|(?:the|this) {_IMAGE} (?:shows?|has|contains?|depicts?)|it (?:shows|has|contains)"
    rf"|(?:i|we|you|one) (?:can )?sees?|(?:the|this) {_IMAGE} does (?P<no_show>not) (?:show|have|contain|depict)"
    r"|(?:i|we|you|one) (?:can ?|do )(?P<no_see>not) see) (?P<not>not )?(?P<objects>.+)"
)
_LEFT_OR_RIGHT = (
    r"(?:(?:to|on|at) )?(?:the )?(?P<side>left|right)(?:-hand)?(?: side)?"
    r"(?: of(?: the)? (?:image|picture|photo)\b| of\b|$)"
)
_BESIDE = r"(?:right |directly )?(?:next to|beside|alongside|close to|adjacent to|near|by)\b"
_OTHER_PLACE = r"behind|in front of|above|below|under|underneath|on top of|inside"
_PLACE = re.compile(
    rf"(?:(?:parked|standing|stands?|sitting|sits?|located|placed|positioned|lying|lies?) )?"
    rf"(?:{_LEFT_OR_RIGHT}|(?P<beside>{_BESIDE})|(?P<place>{_OTHER_PLACE})\b)"
)
_IS = re.compile(r"(?P<subject>.+?) (?:is|are|was|were) (?P<not>not )?(?P<predicate>.+)")
_PLACED = re.compile(rf"(?P<subject>.+?) (?P<predicate>(?:stands?|sits?|lies?|parks) (?:{_LEFT_OR_RIGHT}|{_BESIDE}).*)")
_WEARS = re.compile(r"(?P<subject>.+?) (?P<predicate>(?:wears|wear|has|have|in|wearing|dressed in) .+)")
_VISIBLE = re.compile(r"(?:clearly )?(?:visible|present|there|shown|seen|in view)")
_WORN = re.compile(
    r"(?:(?:wears|wear|in|wearing|dressed in) )(?:a |an )?(?P<color>\w+)(?: (?:coat|jacket|clothes|shirt))?"
)
_VAGUE = re.compile(
    r"(?:several|many|some of|most|all|every|each|both|a few|few|(?:the )?only|at (?:least|most)|(?:more|less|fewer)"
    r" than|about|around|up to)\b"
)
_DETERMINER = re.compile(
    rf"(?P<none>no|zero|0) |(?:(?:exactly|the|these|those) )?(?P<count>\d{{1,3}}|{'|'.join(NUMBERS)}) (?:of the )?"
    r"|(?:an?|the|some|any|another|this|that) "
)
_NAMED = re.compile(
    rf"(?P<words>[a-z][a-z-]*(?: [a-z][a-z-]*){{0,3}}?)(?: (?:in|wearing) (?P<worn>{'|'.join(sorted(COLORS))}))?"
)
_CITED = re.compile(r"\s*\[(\d{1,9}(?:\s*,\s*\d{1,9})*)\]")
_FIRST_WORD = rf"(?=(?:there|the|it|an?|no|\d+|{'|'.join(NUMBERS)}) )"
_CLAUSE = re.compile(rf";\s*|,?\s+(?:and|but|while|whereas)\s+{_FIRST_WORD}|,\s+{_FIRST_WORD}", re.IGNORECASE)
_NO_NOUNS = STOP_WORDS - {"tell"} | {"it", "he", "she", "not", "of", "between", "above", "who", "here"}


class Statement(NamedTuple):
    """A clause of an answer, and the numbers of the results that its sentence cites."""

    text: str
    cited: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects that a claim is about: "blue car", in the singular.

    Attributes:
        name: The name with its attributes.
        count: The number; None for at least one.
    """

    name: str
    count: int | None = None

    @property
    def noun(self) -> str:
        """The last word of the name, or the person who wears a color."""
        return re.sub(r" in \w+$", "", self.name).rpartition(" ")[2]

    @property
    def attributes(self) -> str:
        """The name without the noun."""
        return " ".join(word for word in self.name.split() if word != self.noun)

    def colored(self, color: str) -> "Objects":
        """Return the objects in a color; that of people is the color of what they wear."""
        name = f"{self.name} in {color}" if self.noun in _PEOPLE else f"{color} {self.name}"
        return Objects(name, self.count)

    @property
    def phrase(self) -> str:
        """The name with its article."""
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"

    @property
    def plural(self) -> str:
        """The name in the plural."""
        return re.sub(rf"\b{re.escape(self.noun)}\b", plural(self.noun), self.name)


@dataclass(frozen=True, slots=True)
class VisualClaim:
    """What a claim states about an image.

    Attributes:
        subject: The objects.
        relation: Where they are, such as "to the left of"; "" if the claim does not say.
        other: What they are related to; None if the place is a side of the image.
        is_negated: Whether the claim denies it.
    """

    subject: Objects
    relation: str = ""
    other: Objects | None = None
    is_negated: bool = False

    @property
    def phrase(self) -> str:
        """The scene in words, such as "a blue car next to a bus"."""
        parts = (self.subject.phrase, self.relation, self.other.phrase if self.other else "")
        return " ".join(filter(None, parts))

    @property
    def question(self) -> str:
        """The question for a VQA model: for a number if the claim states one, else for yes or no."""
        if self.subject.count is not None:
            return f"How many {self.subject.plural} are there?"
        return f"Is there {self.phrase}?"


def split_claims(answer: str) -> list[Statement]:
    """Return the claims of an answer: its sentences, and their clauses that have a subject of their own."""
    statements = []
    for sentence in sentences(answer):
        for clause in _CLAUSE.split(sentence):
            if text := _CITED.sub("", clause).strip(" .,"):
                statements.append(Statement(text, _cited(clause) or _cited(sentence)))
    return statements


def _cited(text: str) -> tuple[int, ...]:
    return tuple(int(number) for group in _CITED.findall(text) for number in group.split(","))


def parse_claim(text: str) -> VisualClaim | None:
    """Return what a claim states about an image; None if no rule reads it."""
    text = _plain(text)
    shown = _SHOWS.fullmatch(text)
    if shown:
        negated = any(shown[name] for name in ("not", "no_show", "no_see"))
        return _scene(shown["objects"], negated)
    found = _IS.fullmatch(text) or _PLACED.fullmatch(text) or _WEARS.fullmatch(text)
    if found is None:
        return _scene(text)
    return _predicated(found["subject"], found["predicate"], bool(found.groupdict().get("not"))) or _scene(text)


def _plain(text: str) -> str:
    """Return a claim in lower case, without its end, contractions, and words about the image as a whole."""
    text = " ".join(re.sub(r"[\u201c\u201d\"*]", "", text.casefold().replace("\u2019", "'")).split()).strip(" .!,:")
    text = re.sub(r"n't\b", " not", text).replace("ca not", "can not").replace("cannot", "can not")
    text = re.sub(r"\b(there|it|image|picture|photo)'s\b", r"\1 is", text)
    return _ENDING.sub("", _OPENING.sub("", text))


def _predicated(subject: str, predicate: str, negated: bool) -> VisualClaim | None:
    """Return the claim that objects have a color, a place, or are there."""
    objects, denied = _objects(subject)
    if objects is None:
        return None
    negated ^= denied
    worn, place = _WORN.fullmatch(predicate), _PLACE.match(predicate)
    color = worn["color"] if worn else predicate
    if color in COLORS:
        is_plural = objects.count is None and _is_plural(subject)  # "the cars are red" speaks of each of them
        return None if is_plural else VisualClaim(objects.colored(color), is_negated=negated)
    if _VISIBLE.fullmatch(predicate):
        return VisualClaim(objects, is_negated=negated)
    return _placed(objects, predicate, place, negated) if place else None


def _scene(text: str, negated: bool = False) -> VisualClaim | None:
    """Return the claim that objects are there, and where: "three people", "a car next to a bus"."""
    for place in _PLACE.finditer(text):
        objects, denied = _objects(text[: place.start()].strip())
        if objects is not None and (claim := _placed(objects, text[place.start() :], place, negated ^ denied)):
            return claim
    objects, denied = _objects(text)
    is_named_only = not (_DETERMINER.match(text) or COLORS.intersection(text.split()))  # it may be any words
    return None if objects is None or is_named_only else VisualClaim(objects, is_negated=negated ^ denied)


def _placed(objects: Objects, text: str, place: re.Match[str], negated: bool) -> VisualClaim | None:
    """Return the claim about a place that the text begins with."""
    rest = text[place.end() - (place.start() if place.start() else 0) :].strip()
    if not rest and place["side"]:
        return VisualClaim(objects, f"on the {place['side']}", is_negated=negated)
    relation = f"to the {place['side']} of" if place["side"] else "next to" if place["beside"] else place["place"]
    other, denied = _objects(rest)
    if other is None or denied or other.count not in (None, 1):
        return None
    return VisualClaim(objects, relation, Objects(other.name), negated)


def _objects(text: str) -> tuple[Objects | None, bool]:
    """Return the objects that a noun phrase names, and whether it says that there are none."""
    determiner = _DETERMINER.match(text)
    named = _NAMED.fullmatch(text[determiner.end() :] if determiner else text)
    if _VAGUE.match(text) or named is None:
        return None, False
    *attributes, noun = named["words"].split()
    if _NO_NOUNS.intersection((*attributes, noun)) or noun in COLORS:
        return None, False
    number = determiner["count"] if determiner else None
    count = None if number is None else int(number) if number.isdecimal() else NUMBERS[number]
    objects = Objects(" ".join((*attributes, singular(noun))), count)
    return objects.colored(named["worn"]) if named["worn"] else objects, bool(determiner and determiner["none"])


def _is_plural(phrase: str) -> bool:
    noun = phrase.rpartition(" ")[2]
    return singular(noun) != noun


def singular(noun: str) -> str:
    """Return a noun in the singular: person for people, bus for buses."""
    if noun in _SINGULARS:
        return _SINGULARS[noun]
    if noun.endswith("ies") and len(noun) > 4:
        return f"{noun[:-3]}y"
    if noun.endswith(("ses", "xes", "ches", "shes")) and noun not in ("houses", "horses", "noses", "vases", "roses"):
        return noun[:-2]
    return noun[:-1] if noun.endswith("s") and not noun.endswith(("ss", "us", "is")) else noun


def plural(noun: str) -> str:
    """Return a noun in the plural."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith("y") and noun[-2:-1] not in ("a", "e", "o", "u"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


_LONGEST_QUESTION = 300
"""The characters of a question that completes an answer."""
_ASKS_COLOR = re.compile(r"(?:what|which) colou?r (?:is|does|do|are) (?P<it>.+?)(?: have| wearing| wear| dressed in)?")
_ASKS_COUNT = re.compile(r"how many (?P<it>.+?)(?: (?:are|is|can|do|does|could)\b.*)?")
_ASKS_EXISTENCE = re.compile(
    rf"(?:(?:is|are) there|(?:can|do) (?:you|we|i) see|does (?:the|this) {_IMAGE} (?:show|have)) (?P<it>.+)"
)
_ASKS_SIDE = re.compile(
    r"(?:where )?(?:is|are) (?P<it>(?:the|an?) .+?),? (?:to |on )?(?:the )?left or .*?right of (?P<other>.+)"
)
_ASKS_NEXT_TO = re.compile(r"what (?:is|stands) (?:right )?(?:next to|beside|close to) (?P<it>.+)")


def claim_of(question: str, answer: str) -> str | None:
    """Return the claim that a short answer to a question makes: "the car is red" of "What color is the car?", "red"."""
    asked, answer = _plain(question[: _LONGEST_QUESTION + 1].strip(" ?")), answer.strip().strip(".").casefold()
    if not asked or len(question) > _LONGEST_QUESTION:
        return None
    if found := _ASKS_COLOR.fullmatch(asked):
        return f"{found['it']} is {answer}" if answer in COLORS else None
    if found := _ASKS_COUNT.fullmatch(asked):
        return f"there are {answer} {found['it']}" if answer.isdecimal() or answer in NUMBERS else None
    if found := _ASKS_SIDE.fullmatch(asked):
        return f"{found['it']} is to the {answer} of {found['other']}" if answer in ("left", "right") else None
    if found := _ASKS_NEXT_TO.fullmatch(asked):
        return f"a {answer} is next to {found['it']}"
    if answer not in ("yes", "no"):
        return None
    denial = "" if answer == "yes" else "not "
    if found := _ASKS_EXISTENCE.fullmatch(asked):
        return f"there is {denial}{found['it']}"
    _, *rest = asked.split()
    splits = (f"{' '.join(rest[:i])} is {denial}{' '.join(rest[i:])}" for i in range(2, len(rest)))
    return next(filter(parse_claim, splits), None) if asked.startswith(("is ", "are ")) else None


def claims_of(answer: str, question: str = "") -> Sequence[Statement]:
    """Return the claims of an answer; a short one is completed by its question."""
    completed = claim_of(question, answer)
    return [Statement(completed)] if completed else split_claims(answer)
