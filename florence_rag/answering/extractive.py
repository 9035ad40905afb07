"""Selects the sentences of a passage that may answer a question, by a simple rule.

The score of a sentence is the share of the question's terms that it contains, ignoring endings, stop words, and the
forms of irregular verbs: "is led by" answers "who leads". Of equally good sentences, that with most names of the
question wins, then that with most terms outside of compounds ("attention" before "self-attention"), then the shortest.
To "how many heads ...?", a sentence answers only if it counts heads; to a question for a size, a time, a reason or a
person, only if it has a number, a time, a word such as "because", or a name. Names of places ("in Paris") do not count,
and no names do if a pronoun stands for whoever did it ("we built"). Of any other sentence, only words overlap: half of
the share is left, and it comes after an equally good one.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import regex

from florence_rag.tokenize import STOP_WORDS, content, content_words, coverage, stem, words

_SENTENCE_END = regex.compile(r"(?<=[.\p{SB=STerm}])\s+|(?<=[。！？｡])")  # noqa: RUF001
_PARAGRAPH = regex.compile(r"\n\s*\n")
_HOW_MANY = regex.compile(r"\b(?:how many|wie ?viele|combien de?|cuant[oa]s|quant[ioea]s?) ((?:\w+ ?){1,3})")
_COUNTED_NOUN = regex.compile(
    r"\bhow many (?:\w+ ){2,3}(?:are|is|was|were|do|does|did|has|have|had|can|could|will|would)\b"
)
"""A question whose words before the auxiliary are one noun: not "how many cars stop"."""
_NUMBER = (
    r"(?<!\w)\d[\d.,]*(?:[kmbhs%]|bn|[ckm]m|kg|[kmgt]b|th|st|nd|rd)?\b"  # no footnote, and no part of a name
    r"|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|hundred|thousand|half)\b"
)
_DAYS = r"(?:mon|tues|wednes|thurs|fri|satur|sun)days?"
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_PERIODS = "second|minute|hour|day|night|morning|afternoon|evening|week|month|year|spring|summer|autumn|fall|winter"
_ASKED = (
    (
        r"\bhow (?:much|long|old|high|tall|far|large|big|deep|wide|fast|heavy|often)\b"
        r"|\bwh(?:at|ich) (?:\w+ ){0,4}?(?:score|size|value|number|dimension|rate|percentage|share|ratio|price|cost"
        r"|year|age|length|height|width|weight|speed"
        r"|temperature|distance|amount|threshold|probability)s?\b(?! schedule)",
        _NUMBER,
    ),
    (
        r"\bwhen\b",
        rf"{_NUMBER}|\b(?:noon|midnight|today|tomorrow|yesterday|daily|weekly|yearly|always|never|before|after|during"
        rf"|{_DAYS}|{_MONTHS}|(?:every|each|next|last|in the|at|by|until) (?:{_PERIODS}))\b",
    ),
    (
        r"\bwhy\b|\bfor what reason\b",
        r"\b(?:because|since|due to|so that|therefore|thus|hence|reasons?|caused?|in order)\b|^to \w+ ",
    ),
)
"""What a question asks for, and what a sentence that answers it contains; compiled when a question is asked."""
_PRONOUN = regex.compile(
    r"\A(?:I|[Ww]e|[Tt]hey|[Hh]e|[Ss]he|[Ii]t)\b"
    r"(?!,? \p{Lu}| (?:is|are|was|were|(?:has|have|had) been) [^,;]{1,60}?\bby (?:\w+ ){0,3}\p{Lu})"
)
"""A pronoun that stands for whoever did it: not that of "He, Mozart, ..." or "It was built by Eiffel"."""
_PLACE = regex.compile(r"\b(?:in|at|near)(?: \p{Lu}[\p{L}'’-]+)+")  # noqa: RUF001
_COMPOUND = regex.compile(r"(?<!\w)\w++(?:-\w++)+")  # possessive: a long word would be tried from each letter
_WHO = regex.compile(r"\bwho(?:m|se)?\b")
_NAME = regex.compile(r"(?:\A|(?<=[\p{Ll}\d,;:] ))\p{Lu}[\p{L}'’-]+")  # noqa: RUF001
_BASE = dict(
    pair.split(":")
    for pair in """led:lead built:build held:hold kept:keep sold:sell won:win wrote:write written:write began:begin
    begun:begin ran:run stood:stand bought:buy taught:teach brought:bring sent:send spent:spend lost:lose paid:pay
    told:tell met:meet drew:draw drawn:draw drove:drive driven:drive spoke:speak spoken:speak chose:choose chosen:choose
    broke:break broken:break grew:grow grown:grow knew:know known:know became:become sang:sing sung:sing wore:wear
    worn:wear slept:sleep fed:feed shot:shoot thought:think fought:fight caught:catch flew:fly flown:fly ate:eat
    eaten:eat said:say""".split()
)
"""The irregular forms of common verbs, each with its base; not those that are other words, too ("left"), or go with any
noun ("took")."""
_LABELS = regex.compile(
    r"\[\d+(?:, ?\d+)*\]"
    r"|\b(?:table|figure|fig\.|section|sec\.|chapter|equation|eq\.|page|appendix|footnote) \d+(?:\.\d+)*"
)
"""Numbers that name a place in a document."""
_SECTION = regex.compile(r"\A\d+(?:\.\d+)*\.?\s+(?=\p{Lu})")
"""The number of a heading, which counts nothing."""
_NUMBERS = frozenset(
    """two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand dozen""".split()
)
_LEAST_COUNTED = 0.6
_LONGEST = 400
_FULL = 0.85  # of the length of the next line: letters differ in width


@dataclass(frozen=True, slots=True)
class Quote:
    """A quotation, verbatim except for line breaks.

    Attributes:
        text: The sentence.
        confidence: The share of the question's terms in it; of a question for a number, at least 0.6 if the sentence
            counts what is asked for, and else half of the share, because its words only overlap.
        counts: The number of words with a number before them, of those after "how many": 2 for "8 attention heads".
        ties: What decides between equal confidences, as the module describes: more is better.
    """

    text: str
    confidence: float
    counts: int = 0
    ties: tuple[int, ...] = ()


def best_quotes(question: str, sentences: Iterable[str], limit: int = 1) -> list[Quote]:
    """Return the sentences that may answer a question, best first; those without a term of it come last."""
    terms, counted = content_words(question), _counted(question)
    asked = " ".join(words(question))
    needed = [regex.compile(answer) for asks, answer in _ASKED if regex.search(asks, asked)]
    is_named, names = bool(_WHO.search(asked)), _names_in_question(question)
    quotes = (_quote(sentence, terms, counted, needed, is_named, names) for sentence in sentences)
    most = len(counted) if _COUNTED_NOUN.search(asked) else 1
    return heapq.nlargest(limit, quotes, key=lambda quote: (min(quote.counts, most), quote.confidence, quote.ties))


def quote_nearby(terms: Sequence[str], passage: str, quote: str) -> Quote | None:
    """Return the sentence with most of the terms from the paragraph that a quote comes from; None without a term."""
    paragraphs = [" ".join(block.split()) for block in _PARAGRAPH.split(passage)]
    nearby = sentences(next((each for each in paragraphs if quote in each), ""))
    place = nearby.index(quote) if quote in nearby else 0
    shares = [_share(terms, sentence) for sentence in nearby]
    best = max(range(len(nearby)), key=lambda i: (shares[i], -abs(i - place)), default=0)
    return Quote(nearby[best], shares[best]) if any(shares) else None


def _quote(
    sentence: str,
    terms: Sequence[str],
    counted: frozenset[str],
    needed: Sequence[regex.Pattern[str]],
    is_named: bool,
    names: Sequence[str],
) -> Quote:
    share, counts = _share(terms, sentence), _counts(sentence, counted)
    is_answer = counts > 0
    if not counted:
        said = _without_labels(sentence, terms)
        is_answer = all(each.search(said) for each in needed) and (not is_named or _names(sentence, terms))
    confidence = max(share, _LEAST_COUNTED) if counts else share if is_answer else share / 2
    whole = _present(terms, _COMPOUND.sub(" ", sentence))
    return Quote(sentence, confidence, counts, (is_answer, len(_present(names, sentence)), len(whole), -len(sentence)))


def _names_in_question(question: str) -> list[str]:
    """Return the terms of a question that are written as names or numbers, without its first word."""
    found, first = content(question), next(iter(words(question)), "")
    return [word.term for word in found if word.term != first and (word.term.isdecimal() or not word.text.islower())]


def _share(terms: Sequence[str], sentence: str) -> float:
    """Return the share of the terms that a sentence has."""
    return coverage(_present(terms, sentence), terms)


def _present(terms: Sequence[str], sentence: str) -> list[str]:
    """Return the terms that a sentence has in any form."""
    present = {_base(word) for word in words(sentence)}
    return [term for term in terms if _base(term) in present]


def _base(word: str) -> str:
    return stem(_BASE.get(word, word))


def _names(sentence: str, terms: Sequence[str]) -> bool:
    """Return whether a sentence may name somebody: it has a name that the question does not have.

    One without letters in lower case does not tell. Neither places ("in Paris") nor sentences about what a pronoun did
    name anybody.
    """
    names = {word for name in _NAME.findall(_PLACE.sub(" ", sentence)) for word in words(name)} - STOP_WORDS
    if _PRONOUN.match(sentence):
        return False
    return sentence.upper() == sentence or not set(map(stem, names)) <= set(map(stem, terms))


def _without_labels(sentence: str, terms: Sequence[str]) -> str:
    """Return a sentence without the numbers that name a place, or that the question has already."""
    said = _LABELS.sub(" ", _SECTION.sub("", sentence).casefold())
    for number in (term for term in terms if term.isdecimal()):
        said = regex.sub(rf"\b{number}\b", " ", said)
    return said


def _counted(question: str) -> frozenset[str]:
    """Return the stems of what a question wants counted: attention and head of "how many attention heads are there"."""
    found = _HOW_MANY.search(" ".join(words(question)))
    named = takewhile(lambda word: word not in STOP_WORDS, found[1].split()) if found else ()
    return frozenset(map(stem, named))


def _counts(sentence: str, counted: frozenset[str]) -> int:
    """Return how many of the words have a number shortly before them, or after their plural: "layer 5" counts none."""
    terms = words(_LABELS.sub(" ", _SECTION.sub("", sentence))) if counted else []
    numbers = [i for i, word in enumerate(terms) if word.isdecimal() or word in _NUMBERS]
    places = [(i, stem(word)) for i, word in enumerate(terms) if stem(word) in counted]
    found = {
        base
        for place, base in places
        for number in numbers
        if 0 < place - number <= 6 or (-2 <= place - number < 0 and base != terms[place])
    }
    return len(found)


def sentences(passage: str) -> list[str]:
    """Return the sentences of a text, one per line; long runs without an end, such as tables, split at lines."""
    runs = (run for block in _PARAGRAPH.split(passage) for run in _unwrap(block))
    return [sentence for run in runs for sentence in _SENTENCE_END.split(run) if sentence]


def inscriptions(words: str) -> list[str]:
    """Return the OCR text as one quotation, because the lines of a sign belong together, unless it is long."""
    lines = [" ".join(line.split()) for line in words.splitlines()]
    together = " ".join(lines)
    return [together] if len(together) <= _LONGEST else lines


def _unwrap(block: str) -> list[str]:
    """Join a full line to the next one; a heading is shorter and stays separate."""
    lines = [" ".join(line.split()) for line in block.splitlines()]
    joined, unfinished = lines[:1], _last_part(lines[0]) if lines else 0
    width = sorted(map(len, lines))[len(lines) // 2] if lines else 0
    for before, line in pairwise(lines):
        was_full = len(before) + len(line.split(" ")[0]) >= _FULL * min(len(line), width)
        if was_full and unfinished + len(line) < _LONGEST:
            joined[-1] += f" {line}"
            unfinished = _last_part(line) if _SENTENCE_END.search(line) else unfinished + len(line)
        else:
            joined.append(line)
            unfinished = _last_part(line)
    return joined


def _last_part(line: str) -> int:
    """Return the length of the sentence that a line ends with."""
    return len(_SENTENCE_END.split(line)[-1])
