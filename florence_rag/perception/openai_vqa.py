"""Visual question answering by a service with OpenAI's chat API."""

import math
from typing import Any

from florence_rag.perception.base import VQAResult
from florence_rag.perception.openai_chat import OpenAIChat, reply_text
from florence_rag.text_arguments import check_question
from florence_rag.types import Frame
from florence_rag.untrusted_text import neutralize

INSTRUCTION = "Answer the question about the picture with a word, a number, a name or a few words, not with a sentence."


class OpenAIVisionQA:
    """A `VisualQA` that calls a service. Threads may share it.

    `model` is its name there; a reply has at most `max_tokens`; `options` are those of `OpenAIChat`. Errors of the
    service are ModelErrors.
    """

    def __init__(self, model: str, *, max_tokens: int = 500, **options: Any) -> None:
        self._chat = OpenAIChat(model, **options)
        self._max_tokens = max_tokens

    def close(self) -> None:
        """Close the connections."""
        self._chat.close()

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Answer one question about an RGB image (H, W, 3) uint8.

        The confidence is the probability of the whole answer, or None if the service does not report it.
        """
        text = f"{INSTRUCTION}\nQuestion: {neutralize(check_question(question))}"
        completion = self._chat.send(frame, text, logprobs=True, max_tokens=self._max_tokens)
        try:
            return _to_result(completion)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise self._chat.not_an_answer(completion) from error


def _to_result(completion: Any) -> VQAResult:
    answer = reply_text(completion)
    if not answer:
        raise ValueError("the answer is empty")
    if answer.count(".") == 1:
        answer = answer.removesuffix(".")
    tokens = getattr(completion.choices[0].logprobs, "content", None)
    probability = math.exp(min(0.0, math.fsum(token.logprob for token in tokens))) if tokens else math.nan
    if not math.isfinite(probability):
        return VQAResult(answer, None, ())
    return VQAResult.ranked([(answer, round(probability, 4))])
