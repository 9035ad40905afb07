"""Answers questions about an index or about one image, with the VQA model or with a chat model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from florence_rag.answering.base import best_index, check_question
from florence_rag.answering.llm import ChatModel, LLMAnswerer, LLMConfig, open_chat_model
from florence_rag.answering.vqa_answerer import Answerer, AnsweringConfig
from florence_rag.chunking import ImageInput
from florence_rag.context import Context
from florence_rag.index.base import Filter
from florence_rag.jpeg import jpeg_uri, to_jpeg
from florence_rag.perception.base import VQAResult
from florence_rag.retrieval.query import check_count, check_kinds
from florence_rag.retrieval.retriever import Retriever
from florence_rag.tasks.answer_cache import AnswerCache
from florence_rag.types import Answer, Citation, Frame, Hit, Kind

_THUMBNAIL_PX = 320


class QuestionAnswering:
    """Answers questions, each by the model that the call asks for.

    Args:
        context: The index, its models and its images.
        retriever: Finds the hits that an answer is based on.
        answering: How answers of the VQA model and of passages are weighed.
        llm: What a chat model is sent.
        cache_answers: Whether answers about images are cached unless a call says otherwise.
    """

    def __init__(
        self,
        context: Context,
        retriever: Retriever,
        *,
        answering: AnsweringConfig | None = None,
        llm: LLMConfig | None = None,
        cache_answers: bool = False,
    ) -> None:
        self._context = context
        self._retriever = retriever
        self._answering = answering
        self._llm = llm
        self._cache = AnswerCache(context, always=cache_answers)

    def ask(
        self,
        question: str,
        k: int,
        kinds: Collection[Kind] | None,
        filter: Filter | None,
        *,
        llm: str | ChatModel | None,
        cache_answers: bool | None,
    ) -> Answer:
        """Answer a question from the index, as `FlorenceRAG.ask` does."""
        answerer: Answerer | LLMAnswerer
        if llm is not None:
            answerer = LLMAnswerer(self._retriever, open_chat_model(llm), self._context.images.frames, self._llm)
        else:
            vqa, load_frames = self._cache.vqa_and_frames(cache_answers)
            matcher = self._context.models.matcher
            answerer = Answerer(self._retriever, vqa, load_frames, self._answering, matcher=matcher)
        return answerer.ask(question, k=check_count(k), kinds=check_kinds(kinds), filter=filter)

    def ask_about(
        self, image: ImageInput, question: str, llm: str | ChatModel | None, cache_answers: bool | None
    ) -> Answer:
        """Answer a question about one image, which the citation names."""
        hit, frames = self._context.images.resolve(image)
        if llm is not None:
            model = LLMAnswerer(self._retriever, open_chat_model(llm), lambda _: frames, self._llm)
            answer = model.ask_about(question, [hit])
        else:
            result = self._ask_vqa(hit, frames, question, cache_answers)
            citation = Citation.of(hit, confidence=result.confidence, cached_from=result.cached_from)
            answer = Answer(result.answer, result.confidence, (citation,), result.candidates)
        return answer if hit.id else _with_thumbnail(answer, frames[0])

    def ask_image(self, image: ImageInput, question: str) -> VQAResult:
        """Return the result of the VQA model for one image, as `FlorenceRAG.ask_image` does."""
        return self._ask_vqa(*self._context.images.resolve(image), question)

    def _ask_vqa(
        self, hit: Hit, frames: tuple[Frame, ...], question: str, cache_answers: bool | None = None
    ) -> VQAResult:
        """Ask about the frame that fits the question best."""
        vqa, question = self._cache.vqa_for(hit, frames, cache_answers), check_question(question)
        return vqa.answer(frames[best_index(frames, question, self._context.models.matcher)], question)


def _with_thumbnail(answer: Answer, frame: Frame) -> Answer:
    """Add the image itself to the citations, because no id of the index names it."""
    thumbnail = jpeg_uri(to_jpeg(frame, max_side_px=_THUMBNAIL_PX))
    return replace(answer, citations=tuple(replace(each, thumbnail=thumbnail) for each in answer.citations))
