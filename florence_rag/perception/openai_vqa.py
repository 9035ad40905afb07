"""Visual question answering by a service with OpenAI's chat API: OpenAI, vLLM, llama.cpp, Ollama ...

Images are sent to the configured address, and to no other.
"""

import math
from collections.abc import Mapping
from typing import Any

from florence_rag.errors import MissingExtraError, ModelError
from florence_rag.jpeg import jpeg_uri, to_jpeg
from florence_rag.perception.base import VQAResult, checked_question
from florence_rag.types import Frame

try:
    import openai
    from openai.types.chat import ChatCompletion
except ImportError as error:
    raise MissingExtraError("openai", "openai") from error

INSTRUCTION = "Answer the question about the picture with a word, a number, a name or a few words, not with a sentence."

_OPENAI_URL = "https://api.openai.com/v1"
_MAX_REASON = 200


class OpenAIVisionQA:
    """A `VisualQA` that calls a service. Threads may share it.

    `model` is its name there; `base_url` is such as "http://localhost:8000/v1", or None for OpenAI itself; `retries`
    counts further attempts after failures that may pass; `max_side_px` limits the image that is sent; `options` are
    further fields of the request, such as {"temperature": 0}. Errors of the service are ModelErrors.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 2,
        max_side_px: int = 1024,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if base_url is None and not api_key:
            raise ModelError("OpenAI needs a key: set OPENAI_API_KEY, or name the base_url of a service without keys")
        self._model = model
        self._url = base_url or _OPENAI_URL
        self._who = f"the model {model!r} at {self._url}"
        self._timeout_s = timeout_s
        self._max_side_px = max_side_px
        self._options = dict(options or {})
        self._has_logprobs = True
        key = api_key or "none"  # the client requires a key, local servers accept any
        self._client = openai.OpenAI(base_url=self._url, api_key=key, timeout=timeout_s, max_retries=retries)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Answer one question about an RGB image (H, W, 3) uint8.

        The confidence is the probability of the whole answer, or None if the service does not report it.
        """
        text = f"{INSTRUCTION}\nQuestion: {checked_question(question)}"
        url = jpeg_uri(to_jpeg(frame, max_side_px=self._max_side_px, quality=90))
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
        messages = [{"role": "user", "content": content}]
        completion = self._complete({"model": self._model, "messages": messages, **self._options})
        try:
            return _to_result(completion)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ModelError(f"{self._who} sent something that is not an answer: {_shortened(completion)}") from error

    def _complete(self, request: dict[str, Any]) -> ChatCompletion:
        """Send a request, from now on without log-probabilities if the service refuses to report them."""
        logprobs = {"logprobs": True} if self._has_logprobs else {}
        try:
            completion: ChatCompletion = self._client.chat.completions.create(**logprobs | request)
            return completion
        except openai.BadRequestError as error:
            if not self._has_logprobs or "logprobs" not in str(error):
                raise ModelError(self._reason(error)) from error
        except (openai.OpenAIError, ValueError) as error:
            raise ModelError(self._reason(error)) from error
        self._has_logprobs = False
        return self._complete(request)

    def _reason(self, error: Exception) -> str:
        """Explain an error of the client in one line, with what to do."""
        match error:
            case openai.APITimeoutError():
                return f"{self._who} did not answer within {self._timeout_s:g} s; try again, or give it more time"
            case openai.APIConnectionError():
                return f"{self._url} cannot be reached ({_shortened(error.__cause__ or error)}); is it running?"
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                return f"{self._url} refuses the key ({error.status_code}): {_shortened(error)}; give the right one"
            case openai.NotFoundError():
                return f"{self._url} has no model {self._model!r}, or is not the base URL: {_shortened(error)}"
            case openai.APIStatusError():
                return f"{self._who} failed ({error.status_code}): {_shortened(error)}"
        return f"{self._who} sent something that is not an answer: {_shortened(error)}"


def _to_result(completion: ChatCompletion) -> VQAResult:
    """Read the answer; the client does not check replies, so that a malformed one raises errors of several types."""
    choice = completion.choices[0]
    answer = " ".join((choice.message.content or "").split())
    if not answer:
        raise ValueError("the answer is empty")
    if answer.count(".") == 1:
        answer = answer.removesuffix(".")
    tokens = getattr(choice.logprobs, "content", None)
    probability = math.exp(min(0.0, math.fsum(token.logprob for token in tokens))) if tokens else math.nan
    if not math.isfinite(probability):
        return VQAResult(answer, None, ())
    return VQAResult.ranked([(answer, round(probability, 4))])


def _shortened(message: object) -> str:
    line = " ".join(str(message).split())
    return line if len(line) <= _MAX_REASON else f"{line[:_MAX_REASON]} ..."
