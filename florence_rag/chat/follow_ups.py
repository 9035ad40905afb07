"""Reads a message in view of the conversation, by rules that keep the last results and their subject in focus.

    "What color is the car?"  "and what is next to it?"  ->  "what is next to the car?" about the image of the answer

A message refers to earlier ones if it names a position ("the second one"), restricts the last search ("only videos"),
asks for more or for similar results, goes back, has a pronoun, or only names another subject ("what about the dog?").
Every other message stands for itself. `follow_up_words.toml` has the words, in English, German, French and Spanish.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePath
from typing import Any, Literal

from florence_rag.answering.question_detection import is_question
from florence_rag.chat.turn import Turn
from florence_rag.tokenize import content_words, fold, shared_words, words
from florence_rag.types import Hit, Kind

KINDS_OF_WORD: Mapping[str, tuple[Kind, ...]] = {"image": ("image",), "clip": ("clip",), "document": ("page", "text")}
_LONGEST_SUBJECT = 4
_LONGEST_MESSAGE = 400
"""The characters of a message that may refer to earlier ones; a longer one stands for itself."""
_FILE_NAME = re.compile(r"[^\s\"'/\\]+\.\w{2,5}\b")
_COPULA_WITH_PLACE = re.compile(
    r"(?:what|who) (?:is|are) (?:next|near|beside|behind|between|left|right|to the|in front)"
)


@dataclass(frozen=True, slots=True)
class Request:
    """What a message asks for, so that it can be answered without the conversation.

    Attributes:
        text: The question or the text to search for.
        action: "search" answers from the index; "about" from one result or its file; "open"
            shows a result; "similar" searches by a result;
            "more" continues the last search; "again" repeats it within kinds or a source.
        hit: The result that the action refers to; None for the image of the message.
        position: Which result of the last search is meant instead, from 1; -1 is the last one. None if none is named.
        image: An earlier image of the user that the message refers to.
        kinds: The kinds of chunks to search; () for all.
        source: The source to search; "" for all.
    """

    text: str
    action: Literal["search", "about", "open", "similar", "more", "again"] = "search"
    hit: Hit | None = None
    position: int | None = None
    image: str = ""
    kinds: tuple[Kind, ...] = ()
    source: str = ""


def read_message(text: str, history: Sequence[Turn]) -> Request:
    """Return what a message without an image asks for."""
    if len(text) > _LONGEST_MESSAGE:
        return Request(text)
    kinds, rest = read_restriction(text)
    last = last_turn_with_results(history)
    if last is None:
        return Request(_what_to_find(rest), kinds=kinds)
    listed = last_search(history) or last
    if kinds:
        return Request(rest, kinds=kinds) if rest else Request(listed.query, "again", kinds=kinds, source=listed.source)
    if source := _restricted_source(text, history):
        return Request(listed.query, "again", kinds=listed.kinds, source=source)
    return _going_back(text, history) or _about_results(text, history, last)


def read_message_with_image(text: str, history: Sequence[Turn]) -> Request:
    """Return what a message with an image asks for: the same as before, unless it has a question of its own."""
    if len(text) > _LONGEST_MESSAGE:
        return Request(text, "about" if is_question(text) else "similar")
    asked = next((turn.query for turn in reversed(history) if is_question(turn.query)), "")
    refers = not _without_fillers(_strip(text, "what_about", "requests")) or _matches("in_the_image", _plain(text))
    if is_question(text) and not (refers and _search("what_about", _plain(text))):
        return Request(text, "about")
    if _search("similar", _plain(text)) or not refers:
        return Request(_without_fillers(re.sub(_pattern("similar"), " ", _strip(text, "requests"))), "similar")
    return Request(asked, "about") if asked else Request("", "similar")


def read_restriction(text: str) -> tuple[tuple[Kind, ...], str]:
    """Return the kinds of chunks to which a message restricts a search, such as "only videos", and the rest of it."""
    plain = _plain(text) if len(text) <= _LONGEST_MESSAGE else ""
    for word, kinds in KINDS_OF_WORD.items():
        between = rf"(?: {_one_of('fillers')})*"
        found = re.search(rf"\b(?:{_words('only')}){between} (?:{_words(word)})\b", plain)
        found = found or re.search(rf"\b(?:{_words(word)}) (?:{_words('only')})\b", plain)
        if found:
            others = f"{plain[: found.start()]} {plain[found.end() :]}"
            others = _strip(others, "openers", "requests")
            return kinds, _without_fillers(others) and " ".join(others.split())
    return (), text


def last_turn_with_results(history: Sequence[Turn]) -> Turn | None:
    """Return the last turn that found something, or came with an image."""
    return next((turn for turn in reversed(history) if (turn.hits or turn.image) and not turn.error), None)


def last_search(history: Sequence[Turn]) -> Turn | None:
    """Return the last turn that searched the index, whose results the user may name by position."""
    return next((turn for turn in reversed(history) if turn.hits and not turn.is_selection), None)


def _about_results(text: str, history: Sequence[Turn], last: Turn) -> Request:
    """Return what a message means that may refer to the last results."""
    plain, question = _strip(text, "openers"), _strip_original(text)
    position, rest = _position(plain)
    about = Request(question, "about", focus_of(last), position, "" if last.hits else last.image)
    if _search("similar", plain) and not _without_fillers(re.sub(_pattern("similar"), " ", _strip(rest, "requests"))):
        return replace(about, text=last.query, action="similar")
    if _asks_for_more(plain):
        listed = last_search(history) or last
        return Request(listed.query, "more", kinds=listed.kinds, source=listed.source)
    if position is not None:
        asked = _question_about_position(text, rest, last)
        return replace(about, text=asked or last.query, action="about" if asked else "open")
    if named := _other_subject(text, last):
        return named if named.action == "search" else replace(about, text=named.text)
    is_visual = about.hit is None or about.hit.kind in ("image", "clip")
    if _refers_back(text, plain, is_visual) or _names_noun(question, is_visual, history, last):
        return replace(about, text=with_subject(question, subject_of(last)))
    return Request(_what_to_find(text))


def _asks_for_more(plain: str) -> bool:
    ignored = rf"(?: {_one_of('fillers', 'results', *KINDS_OF_WORD)})*"
    return bool(re.fullmatch(rf"(?:(?:{_words('requests')}) )?(?:{_words('more')}){ignored}", plain))


def focus_of(turn: Turn) -> Hit | None:
    """Return the hit that a turn was about: the first one that its answer cites, or else the first."""
    cited = next(iter(turn.citations), 1)
    return turn.hits[cited - 1] if turn.hits else None


def _going_back(text: str, history: Sequence[Turn]) -> Request | None:
    """Return what "back to the first one" or "back to the bridge: how long is it?" means."""
    head, _, question = text.partition(":")
    found = _search("back", _plain(head))
    if found is None:
        return None
    named = _plain(head)[found.end() :]
    position, _ = _position(named)
    turn = _turn_before(named, position, history)
    if turn is None:
        return None
    hit, place = (focus_of(turn), None) if position is None or turn.is_selection else (turn.hits[0], position)
    if sum(bool(each.hits) and not each.is_selection for each in history) > 1:
        place = None  # the position counts the searches
    asked = with_subject(question.strip(), subject_of(turn)) or turn.query
    return Request(asked, "about", hit, place, "" if turn.hits else turn.image)


def _turn_before(named: str, position: int | None, history: Sequence[Turn]) -> Turn | None:
    """Return the search that a position counts, or the turn whose text has most of the words that a message names."""
    turns = [turn for turn in history if turn.hits or turn.image]
    searches = [turn for turn in turns if not turn.is_selection]
    if position is not None:
        if len(searches) == 1:
            return searches[0]
        return searches[position - 1 if position > 0 else position] if abs(position) <= len(searches) else None
    wanted = set(content_words(_without_fillers(named)))
    shared = [len(wanted & set(words(f"{turn.query} {turn.answer.answer}"))) for turn in turns]
    return turns[max(range(len(turns)), key=lambda i: (shared[i], i))] if any(shared) else None


def _position(plain: str) -> tuple[int | None, str]:
    """Return the position of a result that a message names, and the message without it."""
    nouns = rf"(?:{_words('results')}|{_any_kind()})"
    before = rf"(?:{_one_of('fillers')} )*"
    after = rf"(?: {nouns}\b|(?= (?:{_boundaries()})\b)|(?=\s*$))"
    for position in _tables()["position"]:
        ordinal = _words("position", position)
        if found := re.search(rf"\b{before}(?:{nouns} )?(?:{ordinal}){after}", plain):
            return int(position), " ".join((plain[: found.start()] + plain[found.end() :]).split())
    found = re.search(rf"\b{before}(?:{_words('number')}) (\d{{1,3}})\b|^{before}(\d{{1,3}})$", plain)
    if found:
        return int(found[1] or found[2]), " ".join((plain[: found.start()] + plain[found.end() :]).split())
    return None, plain


def _question_about_position(text: str, rest: str, last: Turn) -> str:
    """Return the question to ask about a named result: that of the message, or else the one before, or none."""
    if re.match(_pattern("requests"), rest):
        return ""
    names_only = re.match(rf"(?:{_words('what_about')}) (?!what|who|where|when|how)", _plain(text))
    if _without_fillers(rest) and is_question(text) and not names_only:
        return rest + "?"
    return last.query if is_question(last.query) else ""


def _other_subject(text: str, last: Turn) -> Request | None:
    """Return the last question about another subject, for "what about the dog?" or "and the red one?"."""
    found = re.match(_pattern("what_about"), _plain(text))
    named = _original_after(text, found.end()).rstrip("?¿!. ") if found else ""
    if not named or is_question(named) or not _without_fillers(_plain(named)):
        return None
    if len(words(named)) > 12 or _search("pronouns", _plain(named)):
        return None
    if recolored := _recolored(named, last.query):
        return Request(recolored)
    if not is_question(last.query):
        return Request(named)
    focus = focus_of(last)
    is_bare = not re.search(rf" (?:{_boundaries()})\b", _plain(named))
    start, end = _subject_span(last.query)
    if not end:
        counted = re.search(r"(?i)(?<=how many )\w+", last.query)
        if counted is None:
            return None
        start, end = counted.span()
    elif not is_bare or _search("prepositions", _plain(last.query[end:])):
        end = len(last.query.rstrip("?.! "))
    asked = f"{last.query[:start]}{named}{last.query[end:]}"
    is_in_image = is_bare and ((focus is not None and focus.kind == "image") or (not last.hits and last.image))
    return Request(asked, "about" if is_in_image else "search")


def _recolored(named: str, query: str) -> str:
    """Return the last query with the color of "the red one"; "" for other texts."""
    color = re.fullmatch(rf"(?:(?:{_words('articles')}) )?({_words('colors')})(?: ones?)?", _plain(named))
    before = list(re.finditer(rf"\b(?:{_words('colors')})\b", query, re.IGNORECASE))
    return f"{query[: before[0].start()]}{color[1]}{query[before[0].end() :]}" if color and before else ""


def _refers_back(text: str, plain: str, is_visual: bool) -> bool:
    """Return whether a message has a pronoun for the last result, asks what is in its image, or is only a fragment."""
    without = re.sub(_pattern("expletives"), " ", plain)
    if _search("in_the_image", plain) or (is_visual and _search("exists", plain)):
        return True
    pronoun = _search("pronouns", without)
    if pronoun:
        before = without[: pronoun.start()].split()
        clause = max(
            (i for i, word in enumerate(before) if word in {"and", "when", "after", "before", "because"}), default=0
        )
        return not (clause and set(before[:clause]) & set(_words("articles").split("|")))
    joined = plain != _plain(text)
    return joined and is_question(text) and len(plain.split()) <= 4 and not _subject_span(plain)[1]


def _names_noun(question: str, is_visual: bool, history: Sequence[Turn], last: Turn) -> bool:
    """Return whether a question is about a noun of the last result and says no more of it, as "what color is it?"."""
    start, end = _subject_span(question)
    described = set(words(question[end:])) & set(_boundaries().split("|"))
    if not end or described or not is_question(question):
        return False
    said = " ".join(f"{turn.query} {turn.answer.answer}" for turn in history if focus_of(turn) == focus_of(last))
    is_known = set(content_words(question[start:end])) <= set(words(said))
    return is_known or (is_visual and _matches("looks", _plain(question)))


def subject_of(turn: Turn) -> str:
    """Return the noun that a pronoun stands for: after "what is next to the car?" the answer, else the car."""
    answer = re.sub(r"\s*\[\d+\]", "", turn.answer.answer)
    if _COPULA_WITH_PLACE.match(_plain(turn.query)) and turn.answer.status == "answered" and len(answer.split()) <= 3:
        return f"the {answer}"
    start, end = _subject_span(turn.query)
    if not end and not is_question(turn.query):
        named = re.split(rf"\b(?:{_boundaries()})\b", turn.query, maxsplit=1, flags=re.IGNORECASE)[0].strip()
        return f"the {named}" if named and len(named.split()) <= _LONGEST_SUBJECT else ""
    return re.sub(r"(?i)^an? ", "the ", turn.query[start:end])


def with_subject(question: str, subject: str) -> str:
    """Return a question whose first pronoun is replaced by a subject, if there is one."""
    nouns = r"(?!\s+(?:image|photo|picture|video|clip)s?\b)"
    pronoun = rf"(?i)(?<![\w-])(?:it|they|them|this|that|these|those|es|ella|eso|ça|cela)(?![\w-]){nouns}"
    question = re.sub(r"(?i)(?: in| on) (?:it|them|there)(?=\W*$)", "", question)
    return re.sub(pronoun, lambda _: subject, question, count=1) if subject else question


def _subject_span(text: str) -> tuple[int, int]:
    """Return where the first noun with an article, or the first name, stands in a text; (0, 0) if there is none."""
    boundary = re.compile(_boundaries())
    for article in re.finditer(rf"(?i)(?<!\w)(?:{_words('articles')})(?=[\s'\u2019])", text):
        end = article.end()
        for count, word in enumerate(re.finditer(r"[\s'\u2019]+([\w-]+)", text[article.end() :])):
            folded = fold(word[1])
            is_verb = count > 0 and len(folded) >= 5 and folded.endswith(("ed", "ing"))
            is_apart = bool(text[end : article.end() + word.start()].strip())
            if count == _LONGEST_SUBJECT or boundary.fullmatch(folded) or is_verb or is_apart:
                break
            end = article.end() + word.end()
        if end > article.end():
            return article.start(), end
    name = re.search(r"(?<=\s)[A-Z][\w-]+(?: [A-Z][\w-]+)*", text)
    return name.span() if name else (0, 0)


def _what_to_find(text: str) -> str:
    """Return a text without "show me" at its beginning; a question as it is."""
    asked = re.match(_pattern("requests"), _plain(text))
    return text if asked is None or is_question(text) else _original_after(text, asked.end()) or text


def _restricted_source(text: str, history: Sequence[Turn]) -> str:
    """Return the source among earlier results whose file name follows "only", as in "only in chronicle.txt"."""
    if not _search("only", _plain(text)):
        return ""
    named = {name.casefold() for name in _FILE_NAME.findall(text)}
    sources = (hit.source for turn in reversed(history) for hit in turn.hits)
    return next((source for source in sources if PurePath(source).name.casefold() in named), "")


def new_terms(question: str, earlier: str) -> list[str]:
    """Return the content words of a question that an earlier one has not, without pronouns."""
    pronoun = re.compile(_words("pronouns"))
    terms = [term for term in content_words(question) if not pronoun.fullmatch(term)]
    return [term for term in terms if not shared_words([term], earlier)]


# Words


def _plain(text: str) -> str:
    return " ".join(words(text))


def _strip(text: str, *tables: str) -> str:
    """Return the words of a text without those of the tables at its beginning."""
    plain = _plain(text)
    for table in tables:
        plain = re.sub(rf"^(?:(?:{_words(table)})(?: |$))+", "", plain)
    return plain


def _strip_original(text: str) -> str:
    """Return a text as it is written, without the words that join it to the one before."""
    removed = len(_plain(text)) - len(_strip(text, "openers"))
    return _original_after(text, removed)


def _original_after(text: str, characters: int) -> str:
    """Return a text as it is written, after so many characters of its words in plain form."""
    skipped = len(_plain(text)[:characters].split())
    parts = list(re.finditer(r"\w+", text))
    return text[parts[skipped].start() :].strip() if skipped < len(parts) else ""


def _without_fillers(plain: str) -> str:
    """Return a text without words that mean nothing alone, and without the names of kinds."""
    nothing = re.compile(rf"(?:{_words('fillers')}|{_words('results')}|{_any_kind()})")
    return " ".join(word for word in plain.split() if not nothing.fullmatch(word))


def _boundaries() -> str:
    return f"{_words('prepositions')}|{_words('verbs')}"


def _any_kind() -> str:
    return "|".join(_words(name) for name in KINDS_OF_WORD)


def _search(table: str, plain: str) -> re.Match[str] | None:
    return re.search(_pattern(table), plain)


def _matches(table: str, plain: str) -> bool:
    return _search(table, plain) is not None


def _pattern(table: str) -> str:
    return rf"\b(?:{_words(table)})(?!\w)"


def _one_of(*tables: str) -> str:
    """Return one word of some tables as an expression that may be repeated: a word that several have is tried once."""
    return rf"(?>(?:{'|'.join(map(_words, tables))})(?!\w))"


@cache
def _words(table: str, entry: str = "") -> str:
    """Return a table of words in all languages as one regular expression."""
    found = _tables()[table][entry] if entry else _tables()[table]
    return "|".join(found.values())


@cache
def _tables() -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_name("follow_up_words.toml").read_text("utf-8"))
