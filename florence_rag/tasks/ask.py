"""Answers questions about an index or about one image, with the VQA model or with a chat model."""

import threading
from collections.abc import Collection
from dataclasses import replace

from florence_rag.answering.base import NOT_A_QUESTION, best_index
from florence_rag.answering.llm import ChatModel, LLMAnswerer, LLMConfig, open_chat_model
from florence_rag.answering.question_detection import is_question
from florence_rag.answering.vqa_answerer import Answerer, AnsweringConfig
from florence_rag.chunking import ImageInput
from florence_rag.context import Context, LazyValue, loaded
from florence_rag.errors import InputError
from florence_rag.image_store import LoadFrames
from florence_rag.index.base import AnswerStore, Filter, HasAnswerStore
from florence_rag.jpeg import jpeg_uri, to_jpeg
from florence_rag.perception.base import VisualQA, VQAResult
from florence_rag.retrieval.request import check_count, check_kinds, check_relevance
from florence_rag.retrieval.retriever import Retriever
from florence_rag.tasks.answer_cache import CachedVQA, location_of
from florence_rag.tasks.verify import verified
from florence_rag.telemetry import get_logger, timed
from florence_rag.text_arguments import check_question
from florence_rag.types import Answer, Citation, Frame, Hit, Kind

log = get_logger(__name__)

_THUMBNAIL_PX = 320
_ASK = f"{NOT_A_QUESTION} Begin with a question word, or end with a question mark: What color is the car?"


class QuestionAnswering:
    """Answers questions by the VQA model or a chat model; each call may override `cache_answers`."""

    def __init__(
        self,
        context: Context,
        retriever: Retriever,
        answering: AnsweringConfig | None = None,
        llm: LLMConfig | None = None,
        cache_answers: bool = False,
    ) -> None:
        self._context = context
        self._retriever = retriever
        self._answering = answering or AnsweringConfig()
        self._llm = llm or LLMConfig()
        self._cache_answers = cache_answers
        self._lock = threading.Lock()
        self._cache: tuple[object, object, CachedVQA] | None = None

    def ask(
        self,
        question: str,
        k: int,
        kinds: Collection[Kind] | None,
        filter: Filter | None,
        llm: str | ChatModel | None,
        cache_answers: bool | None,
        min_relevance: float | None,
        image: ImageInput | None = None,
        verify: bool = False,
    ) -> Answer:
        """Answer a question from the index or about one image, as `FlorenceRAG.ask` does."""
        if image is not None:
            answer = self.ask_about(image, question, llm, cache_answers)
        else:
            answer = self._ask_index(question, k, kinds, filter, llm, cache_answers, min_relevance)
        return verified(self._context, answer, question) if verify else answer

    def _ask_index(
        self,
        question: str,
        k: int,
        kinds: Collection[Kind] | None,
        filter: Filter | None,
        llm: str | ChatModel | None,
        cache_answers: bool | None,
        min_relevance: float | None,
    ) -> Answer:
        least = self._retriever.min_relevance if min_relevance is None else check_relevance(min_relevance)
        answerer: Answerer | LLMAnswerer
        if llm is not None:
            load_images, matcher = self._context.images.frames, self._context.models.matcher
            answerer = LLMAnswerer(self._retriever, open_chat_model(llm), load_images, self._llm, matcher)
        else:
            models = self._context.models
            vqa: LazyValue[VisualQA] = models.require_vqa()
            load_frames: LoadFrames = self._context.images.frames
            if cached := self._cached_vqa(cache_answers):
                vqa, load_frames = loaded(cached), cached.locating(load_frames)
            reader = models.reranker if models.reranker and "text" in models.reranker.reads else None
            answerer = Answerer(self._retriever, vqa, load_frames, self._answering, models.matcher, reader)
        with timed(log, "ask", answerer=type(answerer).__name__) as fields:
            answer = answerer.ask(
                question, k=check_count(k), kinds=check_kinds(kinds), filter=filter, min_relevance=least
            )
            fields["confidence"], fields["status"] = answer.confidence, answer.status
        return answer

    def ask_about(
        self, image: ImageInput, question: str, llm: str | ChatModel | None, cache_answers: bool | None
    ) -> Answer:
        """Answer a question about one image, which the citation names."""
        hit, frames = self._context.images.resolve(image)
        if llm is None and not is_question(check_question(question)):
            return Answer(_ASK, None, status="not_a_question")
        if llm is not None:
            model = LLMAnswerer(self._retriever, open_chat_model(llm), lambda _: frames, self._llm)
            answer = model.ask_about(question, [hit])
        else:
            result = self._ask_vqa(hit, frames, question, cache_answers)
            citation = Citation.of(hit, confidence=result.confidence, cached_from=result.cached_from)
            answer = Answer(result.answer, result.confidence, (citation,), result.candidates)
        if hit.id:
            return answer
        # No id of the index names the image, so the citations carry it.
        thumbnail = jpeg_uri(to_jpeg(frames[0], max_side_px=_THUMBNAIL_PX))
        return replace(answer, citations=tuple(replace(each, thumbnail=thumbnail) for each in answer.citations))

    def ask_image(self, image: ImageInput, question: str) -> VQAResult:
        """Return the result of the VQA model for one image, as `FlorenceRAG.ask_image` does."""
        question = check_question(question)
        if not is_question(question):
            raise InputError(f"{question!r:.80}: {_ASK}")
        return self._ask_vqa(*self._context.images.resolve(image), question)

    def _ask_vqa(
        self, hit: Hit, frames: tuple[Frame, ...], question: str, cache_answers: bool | None = None
    ) -> VQAResult:
        """Ask about the frame that fits the question best."""
        self._context.observe([hit])
        question, cached = check_question(question), self._cached_vqa(cache_answers)
        if cached and hit.id:
            cached.locate(frames, location_of(hit))
        vqa = cached or self._context.models.require_vqa().get()
        return vqa.answer(frames[best_index(frames, question, self._context.models.matcher)], question)

    def clear_cache(self) -> int:
        """Delete the cached answers, and return their number."""
        return self._answer_store().clear()

    def _answer_store(self) -> AnswerStore:
        index = self._context.index
        if not isinstance(index, HasAnswerStore):
            raise InputError(f"{type(index).__name__} cannot store answers; do not use cache_answers")
        return index.answer_store()

    def _cached_vqa(self, cache_answers: bool | None) -> CachedVQA | None:
        """Return the cache, the same one while model and embedder stay the same; None if answers are not cached."""
        if not (self._cache_answers if cache_answers is None else cache_answers):
            return None
        models, store = self._context.models, self._answer_store()
        vqa, embedder = models.require_vqa(), models.embedder
        with self._lock:
            if self._cache is None or self._cache[:2] != (vqa, embedder):
                cached = CachedVQA(vqa, store, embedder, vqa.name or type(vqa.get()).__name__)
                self._cache = vqa, embedder, cached
            return self._cache[2]
