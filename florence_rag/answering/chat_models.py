"""LangChain chat models by name."""

from __future__ import annotations

from florence_rag.answering.llm import ChatModel
from florence_rag.errors import MissingExtraError, ModelError

try:
    from langchain.chat_models import init_chat_model
except ImportError as error:
    raise MissingExtraError("langchain", "llm") from error


def open_chat_model(name: str) -> ChatModel:
    """Return the chat model of a name such as "openai:gpt-5" or "ollama:llama3"; raise ModelError if there is none."""
    try:
        model: ChatModel = init_chat_model(name)
        return model
    except (ImportError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"cannot open the chat model {name!r}, expected provider:model: {reason}") from error
