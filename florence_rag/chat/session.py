"""Chat: a conversation with an index, with a language model or without one.

message -> standalone text (follow_ups.py, or the language model) -> hits -> answer with numbered citations -> Turn
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import PurePath
from typing import TypedDict, Unpack

from florence_rag.answering.base import not_found, split_by_match, split_by_relevance
from florence_rag.answering.budget import Budget
from florence_rag.answering.extractive import quote_nearby
from florence_rag.answering.llm import ChatModel, open_chat_model, reply_to_answer, stream_reply
from florence_rag.answering.question_detection import is_question, is_small_talk
from florence_rag.chat.follow_ups import (
    Request,
    last_search,
    new_terms,
    read_message,
    read_message_with_image,
    read_restriction,
)
from florence_rag.chat.prompts import Evidence, answer_messages, read_rewritten, rewrite_messages
from florence_rag.chat.session_file import load_turns, save_turns
from florence_rag.chat.turn import Turn
from florence_rag.chunking import ImageInput
from florence_rag.context import Context
from florence_rag.errors import FlorenceError, InputError, check_keywords
from florence_rag.index.base import Filter
from florence_rag.index.literals import literal
from florence_rag.jpeg import jpeg_uri, to_jpeg
from florence_rag.retrieval.query import Query, QueryPart
from florence_rag.retrieval.request import check_kinds
from florence_rag.retrieval.retriever import Retriever
from florence_rag.tasks.ask import QuestionAnswering
from florence_rag.tasks.describe import describe_hit
from florence_rag.text_arguments import check_text
from florence_rag.types import Answer, Citation, Frame, Hit, Kind, middle_frame
from florence_rag.untrusted_text import Fence, place_to_text
from florence_rag.validation import validate_arguments

GREETING = "Hello. Ask about your images, videos and documents, or describe what to find."
NOTHING_MORE = "There are no further results."
_IMAGE_PX = 768
_LEAST_NEARBY = 0.5
_MAX_CONTENT = 600
_INTERRUPTED = "The answer was interrupted."


class ChatOptions(TypedDict, total=False):
    """The keyword arguments of `FlorenceRAG.chat`.

    Attributes:
        k: The number of results of each turn; 5 by default.
        kinds: As for `FlorenceRAG.search`.
        filter: As for `FlorenceRAG.search`.
        min_relevance: The least relevance of a result, in [0, 1]; by default that of the calibration.
        budget: The limits for the images that a chat model receives in one turn.
        timeout_s: How long to wait for each part of a chat model's reply; 60 by default, None for no limit.
    """

    k: int
    kinds: Collection[Kind] | None
    filter: Filter | None
    min_relevance: float | None
    budget: Budget | None
    timeout_s: float | None


@validate_arguments
class Chat:
    """A conversation with an index; `FlorenceRAG.chat` begins one. One thread at a time may use it.

        chat = rag.chat()
        chat.ask("What color is the car next to the fire hydrant?").answer.answer     # "blue [1]"
        chat.ask("and what is next to it?")

    Args:
        context: The index with its models and images.
        retriever: Searches the index.
        questions: Answers questions without a language model.
        llm: A chat model or its name; None to answer by the VQA model, and by quotes from passages.
        **options: See `ChatOptions`.

    Attributes:
        history: The turns, oldest first. A turn that failed is among them, with its `error`.
        filter: The filter of the turns that follow; it may be assigned.
        kinds: The kinds of chunks of the turns that follow; it may be assigned.
    """

    def __init__(
        self,
        context: Context,
        retriever: Retriever,
        questions: QuestionAnswering,
        llm: str | ChatModel | None = None,
        **options: Unpack[ChatOptions],
    ) -> None:
        check_keywords(options, ChatOptions)
        self.history: list[Turn] = []
        self.filter, self.kinds = options.get("filter"), options.get("kinds")
        self._context, self._retriever, self._questions = context, retriever, questions
        self._llm = None if llm is None else open_chat_model(llm)
        self._k, self._min_relevance = options.get("k", 5), options.get("min_relevance")
        self._budget, self._timeout_s = options.get("budget") or Budget(), options.get("timeout_s", 60.0)

    def ask(self, text: str = "", image: ImageInput | None = None) -> Turn:
        """Answer a message; see `stream`."""
        *_, turn = self.stream(text, image)
        assert isinstance(turn, Turn)
        return turn

    def stream(self, text: str = "", image: ImageInput | None = None) -> Iterator[str | Turn]:
        """Answer a message: yield the text of the answer in parts, and at the end the turn.

        Args:
            text: A question, a text to search for, or what refers to earlier results; it may be empty with an image.
            image: An image that the message is about.

        Raises:
            InputError: If there is neither a text nor an image, or the image cannot be read.
            ModelError: If a model fails. The turn is in the history, with its error.
        """
        text = check_text(
            text, "message", "" if image is not None else "ask a question, or describe what to find"
        ).strip()
        given = None if image is None else middle_frame(self._context.images.resolve(image)[1])
        turn = Turn(text, text, Answer("", None, status="unknown"), image="" if given is None else _to_uri(given))
        parts: list[str] = []
        try:
            for part in self._answer(turn, given):
                if isinstance(part, str):
                    parts.append(part)
                    yield part
                else:
                    turn = part
        except (FlorenceError, GeneratorExit, KeyboardInterrupt) as error:
            reason = str(error) if isinstance(error, FlorenceError) else _INTERRUPTED
            answer = Answer("".join(parts), None, status="unknown")
            self.history.append(replace(turn, answer=answer, error=reason))
            raise
        self.history.append(turn)
        yield turn

    def save(self, path: str | PathLike[str]) -> None:
        """Write the conversation to a JSON file: ids of results and answers, no files of the index."""
        save_turns(path, self.history)

    def load(self, path: str | PathLike[str]) -> None:
        """Replace the history by that of a file that `save` wrote. The file is not trusted: results come by their ids.

        Raises:
            InputError: If the file is no saved conversation, or is too large.
        """
        self.history = load_turns(path, self._context.index)

    def hit(self, number: int) -> Hit:
        """Return the result with a number of the last turn that has results; raise InputError if there is none."""
        last = next((turn for turn in reversed(self.history) if turn.hits), None)
        if last is None or not 1 <= number <= len(last.hits):
            have = f"there are results 1 to {len(last.hits)}" if last else "there are no results yet"
            raise InputError(f"there is no result {number}: {have}")
        return last.hits[number - 1]

    def _answer(self, turn: Turn, given: Frame | None) -> Iterator[str | Turn]:
        """Yield parts of the answer, and the turn, also when only its query is known."""
        if is_small_talk(turn.question) and given is None:
            yield from _whole(replace(turn, query="", answer=Answer(GREETING, None, status="not_a_question")))
        elif self._llm is not None:
            yield from self._answer_by_llm(self._llm, turn, given)
        elif given is not None:
            yield from _whole(self._answer_about_image(turn, given))
        else:
            yield from _whole(self._answer_by_rules(turn, read_message(turn.question, self.history)))

    # Without a language model

    def _answer_about_image(self, turn: Turn, given: Frame) -> Turn:
        """Answer a message that came with an image."""
        request = read_message_with_image(turn.question, self.history)
        if request.action == "about":
            return self._answer_from_image(replace(turn, query=request.text), given)
        hits = self._search(_parts(given, request.text), self._k)
        return replace(turn, query=request.text, answer=_listing(hits), hits=tuple(hits))

    def _answer_by_rules(self, turn: Turn, request: Request) -> Turn:
        """Answer a message that the rules have read."""
        turn = replace(turn, query=request.text, kinds=request.kinds, source=request.source)
        if request.position is not None:
            found = self._result_at(request.position)
            if isinstance(found, str):
                return replace(turn, answer=Answer(found, None, status="unknown"))
            request = replace(request, hit=found)
        if request.action == "more":
            return self._continue(turn)
        if request.action == "similar" and request.hit:
            return self._list(replace(turn, similar_to=request.hit.id))
        listed = last_search(self.history)
        if request.action == "again" and listed and (listed.query_image or listed.similar_to):
            return self._list(replace(turn, search_image=listed.query_image, similar_to=listed.similar_to))
        if request.action == "open" and request.hit:
            return replace(turn, answer=_description(request.hit), hits=(request.hit,), is_selection=True)
        if request.action == "about" and request.hit:
            return self._answer_about_hit(turn, request.hit)
        if request.action == "about" and request.image:
            return self._answer_from_image(turn, request.image)
        return self._answer_from_index(turn, request)

    def _list(self, turn: Turn) -> Turn:
        """List the results of a search by a result or an image."""
        hits = self._search_again(turn, self._k)
        return replace(turn, answer=_listing(hits), hits=tuple(hits))

    def _answer_from_index(self, turn: Turn, request: Request) -> Turn:
        """Answer a question from the index, or list what matches a text."""
        if is_question(request.text) and self._context.models.vqa is not None:
            return self._with_answer(turn, self._ask(request.text, request))
        hits = self._search([QueryPart(request.text)], self._k, request)
        # "Only videos" asks for the nearest ones, however near.
        relevant, others = (hits, []) if request.kinds else self._split(request.text, hits)
        answer = _listing(relevant) if relevant else not_found(others, self._least)
        return replace(turn, answer=answer, hits=tuple(relevant))

    def _answer_about_hit(self, turn: Turn, hit: Hit) -> Turn:
        """Answer a question about one result, or show it if there is none: an image, or the file of another result."""
        turn = replace(turn, hits=(hit,), is_selection=True)
        if not is_question(turn.query) or self._context.models.vqa is None:
            return replace(turn, answer=_description(hit))
        if nearby := self._quote_nearby(turn.query, hit):
            return replace(turn, answer=_numbered(nearby, (hit,)))
        if hit.kind != "image":
            answer = self._ask(turn.query, Request(turn.query, source=hit.uri))
            if answer.citations:
                return self._with_answer(turn, answer)
        if hit.kind in ("page", "text"):
            return self._with_answer(turn, self._ask(turn.query, Request(turn.query)))
        answer = self._questions.ask_about(hit.id, turn.query, None, None)
        return replace(turn, answer=_numbered(answer, (hit,)))

    def _quote_nearby(self, question: str, hit: Hit) -> Answer | None:
        """Return a quote with the new words of a question, from the paragraph that answered an earlier one."""
        answers = ((turn.query, each) for turn in reversed(self.history) for each in turn.answer.citations)
        cited = ((query, citation.quote) for query, citation in answers if citation.id == hit.id)
        earlier, quote = next(cited, ("", ""))
        terms = new_terms(question, earlier)
        found = quote_nearby(terms, hit.text, quote) if terms and quote else None
        if found is None or found.confidence < _LEAST_NEARBY:
            return None
        return Answer(found.text, found.confidence, (Citation.of(hit, quote=found.text, confidence=found.confidence),))

    def _answer_from_image(self, turn: Turn, image: ImageInput) -> Turn:
        """Answer a question about an image of the user."""
        return replace(turn, answer=self._questions.ask_about(image, turn.query, None, None))

    def _with_answer(self, turn: Turn, answer: Answer) -> Turn:
        """Return a turn whose hits are those that an answer cites."""
        hits = tuple(self._context.index.get([cited.id for cited in answer.citations]))
        if not hits:
            return replace(turn, answer=answer)
        return replace(turn, answer=_numbered(answer, hits), hits=hits)

    def _continue(self, turn: Turn) -> Turn:
        """List the next results of the last search."""
        listed = last_search(self.history)
        if listed is None or not (hits := self._next_hits(listed, self._k)):
            return replace(turn, answer=Answer(NOTHING_MORE, None, status="not_found"))
        turn = replace(turn, search_image=listed.query_image, similar_to=listed.similar_to)
        return replace(turn, answer=_listing(hits), hits=tuple(hits))

    def _next_hits(self, listed: Turn, k: int) -> list[Hit]:
        """Return the k results after those that the search of a turn has found so far."""
        same = [each for each in self.history if not each.is_selection and _search_of(each) == _search_of(listed)]
        seen = {hit.id for each in same for hit in each.hits}
        return [hit for hit in self._search_again(listed, len(seen) + k) if hit.id not in seen][:k]

    def _search_again(self, turn: Turn, k: int) -> list[Hit]:
        """Return the k best results of the search of a turn: by a result, or else by an image, a text, or both."""
        parts = [QueryPart(id=turn.similar_to)] if turn.similar_to else _parts(turn.query_image or None, turn.query)
        return self._search(parts, k, Request(turn.query, kinds=turn.kinds, source=turn.source))

    def _result_at(self, position: int) -> Hit | str:
        """Return the result at a position of the last search, or why there is none."""
        listed = last_search(self.history)
        if listed is None:
            return "There are no results yet."
        hits = list(listed.hits)
        if position > len(hits):
            hits += self._next_hits(listed, position - len(hits))
        if not -len(hits) <= position <= len(hits) or position == 0:
            return f"There is no result {position}: there are {len(hits)}."
        return hits[position - 1] if position > 0 else hits[position]

    # With a language model

    def _answer_by_llm(self, llm: ChatModel, turn: Turn, given: Frame | None) -> Iterator[str | Turn]:
        """Yield parts of a chat model's answer, and the turn."""
        kinds, query = read_restriction(turn.question)
        opened: list[Hit] = []
        if any(not earlier.error for earlier in self.history):
            reply = "".join(stream_reply(llm, rewrite_messages(turn.question, self.history), self._timeout_s))
            query, opened = read_rewritten(reply, self.history)
        turn = replace(turn, query=query, kinds=kinds)
        yield turn
        request = Request(query, kinds=kinds)
        found = self._search(_parts(given, query), self._k, request)
        # The nearest to an image are wanted, however near.
        least = self._min_relevance or 0.0
        relevant, others = self._split(query, found) if given is None else split_by_relevance(found, least)
        known = {hit.id for hit in opened}
        hits = (*opened, *(hit for hit in relevant if hit.id not in known))
        if query and not hits and given is None:
            yield from _whole(replace(turn, answer=not_found(others, self._least)))
            return
        fence = Fence()
        load_frames = self._context.images.frames
        evidence = Evidence(hits, given, load_frames, self._budget, partial(describe_hit, self._context), fence)
        turn = replace(turn, hits=hits, images=evidence.images)
        yield turn
        parts = []
        for part in stream_reply(llm, answer_messages(turn.question, self.history, evidence, fence), self._timeout_s):
            parts.append(part)
            yield part
        yield replace(turn, answer=reply_to_answer("".join(parts), hits))

    @property
    def _least(self) -> float:
        return self._retriever.min_relevance if self._min_relevance is None else self._min_relevance

    def _split(self, text: str, hits: Sequence[Hit]) -> tuple[list[Hit], list[Hit]]:
        """Return the relevant hits of a text, and the others."""
        return split_by_match(hits, text, self._least, self._context.models.matcher, self._context.images.frames)

    # The index

    def _ask(self, question: str, request: Request) -> Answer:
        kinds, filter = self._scope(request)
        if not kinds:
            return not_found([], self._least)
        return self._questions.ask(question, max(self._k, 8), kinds, filter, None, None, self._min_relevance)

    def _search(self, parts: Sequence[QueryPart], k: int, request: Request | None = None) -> list[Hit]:
        kinds, filter = self._scope(request or Request(""))
        return self._retriever.search(Query(parts), k, kinds, filter) if parts and kinds else []

    def _scope(self, request: Request) -> tuple[Collection[Kind], Filter | None]:
        """Return the kinds and the filter of a request within those of the chat; no kinds if none are in both."""
        kinds = check_kinds(self.kinds) & check_kinds(request.kinds or None)
        if not request.source:
            return kinds, self.filter
        if isinstance(self.filter, Mapping):
            return kinds, {"$and": [self.filter, {"source": request.source}]}
        condition = f"source == {literal(request.source)}"
        return kinds, f"({self.filter}) and {condition}" if self.filter else {"source": request.source}


def _parts(image: ImageInput | None, text: str) -> list[QueryPart]:
    """Return an image, a text, or both as the parts of a query."""
    return [*([] if image is None else [QueryPart(image=image)]), *([QueryPart(text)] if text else [])]


def _search_of(turn: Turn) -> tuple[object, ...]:
    """Return what a turn searched for and where, which is equal for the turns that continue it."""
    return turn.query, turn.query_image, turn.similar_to, turn.kinds, turn.source


def _whole(turn: Turn) -> Iterator[str | Turn]:
    """Yield an answer that comes in one part, and its turn."""
    yield turn.answer.answer
    yield turn


def _numbered(answer: Answer, hits: tuple[Hit, ...]) -> Answer:
    """Return an answer whose text names the numbers of the hits that it cites."""
    if answer.status != "answered":
        return answer
    cited = {citation.id for citation in answer.citations}
    numbers = [number for number, hit in enumerate(hits, start=1) if hit.id in cited]
    return replace(answer, answer=f"{answer.answer} [{', '.join(map(str, numbers))}]")


def _listing(hits: list[Hit]) -> Answer:
    """Return the answer that lists hits."""
    if not hits:
        return Answer("Nothing was found: no chunk of the index matches.", None, status="not_found")
    names = [f"[{number}] {PurePath(hit.source).name or hit.source}" for number, hit in enumerate(hits, start=1)]
    return Answer(f"The best matches: {', '.join(names)}", None, tuple(map(Citation.of, hits)))


def _description(hit: Hit) -> Answer:
    """Return the answer that shows one hit."""
    text = " ".join(hit.content.split())[:_MAX_CONTENT]
    return Answer(f"[1] {place_to_text(hit)}{f': {text}' if text else ''}", None, (Citation.of(hit),))


def _to_uri(frame: Frame) -> str:
    return jpeg_uri(to_jpeg(frame, max_side_px=_IMAGE_PX))
