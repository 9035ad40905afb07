"""A client of services with OpenAI's chat API that answer about images: OpenAI, Ollama, vLLM, LM Studio, llama.cpp ...

Images are sent to the configured address, and to no other.
"""

import re
import time
from collections.abc import Mapping
from typing import Any

from florence_rag.errors import MissingExtraError, ModelError
from florence_rag.jpeg import jpeg_uri, to_jpeg
from florence_rag.types import Frame

try:
    import openai
    from openai.types.chat import ChatCompletion
except ImportError as error:
    raise MissingExtraError("openai", "openai") from error

_OPENAI_URL = "https://api.openai.com/v1"
_MAX_REASON = 200
_MAX_UNREACHED = 3
_PAUSE_S = 30.0
_THOUGHTS = re.compile(r"<think>.*?(</think>|$)", re.DOTALL)


class OpenAIChat:
    """Sends an image with a text, and returns the reply. Threads may share it.

    If the service cannot be reached three times in a row, requests of the next 30 seconds fail at once, so that a run
    over many images does not wait for each of them.

    Args:
        model: The name of the model at the service.
        base_url: Such as "http://localhost:11434/v1"; None for OpenAI itself.
        api_key: The key. Services without keys, such as Ollama, need none.
        timeout_s: The longest wait for a reply.
        retries: The number of further attempts after failures that may pass.
        max_side_px: The longer side of the image that is sent.
        options: Further fields of the request, such as {"temperature": 0}.
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
        if not base_url and not api_key:
            raise ModelError(
                "OpenAI needs a key: set OPENAI_API_KEY; or set OPENAI_BASE_URL to the address of a service without "
                "keys, such as http://localhost:11434/v1 for Ollama"
            )
        self.url = base_url or _OPENAI_URL
        if not re.match(r"https?://[^/\s]", self.url):
            raise ModelError(f"the base URL is {self.url!r}; write it as http://HOST:PORT/v1 (OPENAI_BASE_URL)")
        self.who = f"the model {model!r} at {self.url}"
        self._model, self._timeout_s, self._max_side_px = model, timeout_s, max_side_px
        self._options = dict(options or {})
        self._refused: set[str] = set()
        self._unreached, self._paused_until, self._last_reason = 0, 0.0, ""
        key = api_key or "none"  # the client requires a key, local servers accept any
        # Without redirects, which would send the image to another address.
        client = openai.DefaultHttpxClient(base_url=self.url, follow_redirects=False, timeout=timeout_s)
        self._client = openai.OpenAI(
            base_url=self.url, api_key=key, timeout=timeout_s, max_retries=retries, http_client=client
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(self, frame: Frame, text: str, **fields: Any) -> ChatCompletion:
        """Send an RGB image (H, W, 3) uint8 and a text.

        Fields of the request that the service refuses are omitted from then on.

        Raises:
            ModelError: If the service cannot be reached or refuses the request.
        """
        if time.monotonic() < self._paused_until:
            raise ModelError(f"{self._last_reason} (not tried again for {_PAUSE_S:g} s)")
        url = jpeg_uri(to_jpeg(frame, max_side_px=self._max_side_px, quality=90))
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
        request = {"model": self._model, "messages": [{"role": "user", "content": content}], **self._options}
        completion = self._complete(request, fields)
        self._unreached = 0
        return completion

    def not_an_answer(self, reply: object) -> ModelError:
        """Return the error about a malformed reply."""
        return ModelError(f"{self.who} sent something that is not an answer: {_shortened(reply)}")

    def _complete(self, request: dict[str, Any], fields: Mapping[str, Any]) -> ChatCompletion:
        accepted = {self._accepted_name(name): value for name, value in fields.items()}
        accepted.pop("", None)
        try:
            completion: ChatCompletion = self._client.chat.completions.create(**accepted | request)
            return completion
        except openai.BadRequestError as error:
            if not (refused := _refused_fields(str(error), accepted) - self._refused):
                raise ModelError(self._reason(error)) from error
            self._refused |= refused
        except (openai.OpenAIError, ValueError) as error:
            raise ModelError(self._reason(error)) from error
        return self._complete(request, fields)

    def _accepted_name(self, name: str) -> str:
        """Return the name by which the service accepts a field, "" if it does not."""
        if name not in self._refused:
            return name
        return "max_completion_tokens" if name == "max_tokens" else ""

    def _reason(self, error: Exception) -> str:
        """Explain an error of the client in one line, with what to do."""
        match error:
            case openai.APITimeoutError():
                reason = f"{self.who} did not answer within {self._timeout_s:g} s; try again, or give it more time"
                return self._count_unreached(reason)
            case openai.APIConnectionError():
                reason = f"{self.url} cannot be reached ({_shortened(error.__cause__ or error)}); is it running?"
                return self._count_unreached(reason)
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                key = "set the right one as OPENAI_API_KEY"
                return f"{self.url} refuses the key ({error.status_code}): {_shortened(error)}; {key}"
            case openai.NotFoundError():
                hint = "" if self.url.rstrip("/").endswith("/v1") else f"; is it {self.url.rstrip('/')}/v1?"
                return f"{self.url} has no model {self._model!r}, or is not the base URL: {_shortened(error)}{hint}"
            case openai.APIStatusError():
                return f"{self.who} failed ({error.status_code}): {_shortened(error)}"
        return str(self.not_an_answer(error))

    def _count_unreached(self, reason: str) -> str:
        self._unreached += 1
        if self._unreached >= _MAX_UNREACHED:
            self._paused_until, self._last_reason = time.monotonic() + _PAUSE_S, reason
        return reason


def reply_text(completion: ChatCompletion) -> str:
    """Return the text of a reply without thoughts and line breaks.

    The client does not check replies, so that a malformed one raises errors of several types.
    """
    return " ".join(_THOUGHTS.sub(" ", completion.choices[0].message.content or "").split())


def _refused_fields(message: str, fields: Mapping[str, Any]) -> set[str]:
    """Return the fields that a message of the service names; a limit of tokens only if it names another one instead."""
    return {name for name in fields if name in message and ("max_" not in name or "max_completion_tokens" in message)}


def _shortened(message: object) -> str:
    line = " ".join(str(message).split())
    return line if len(line) <= _MAX_REASON else f"{line[:_MAX_REASON]} ..."
