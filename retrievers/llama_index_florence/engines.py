"""A query engine and a chat engine of LlamaIndex over one index, which pass images to the LLM and cite by number."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from typing import Any, Unpack

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.llms.types import ChatMessage, ContentBlock, ImageBlock, MessageRole, TextBlock
from llama_index.core.base.response.schema import RESPONSE_TYPE, StreamingResponse
from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine.types import AgentChatResponse, BaseChatEngine, StreamingAgentChatResponse
from llama_index.core.llms import LLM
from llama_index.core.memory import BaseMemory
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import NodeWithScore, QueryBundle

from florence_rag import FlorenceRAG, Turn
from florence_rag.answering.budget import Budget
from florence_rag.chat.session import Chat, ChatOptions
from florence_rag.chat.session_file import turn_from_dict, turn_to_dict
from florence_rag.index.base import ChunkReader
from florence_rag.tools import ImageMode, check_image_mode
from florence_rag.types import Answer
from florence_rag.validation import validate_arguments
from llama_index_florence._convert import hit_to_node, load_frame
from llama_index_florence.tools import image_mode_for

TURN = "florence_turn"
"""The key of a reply's `additional_kwargs` with its turn, from which the next message continues."""


class LLMModel:
    """An LLM of LlamaIndex as a chat model of florence_rag."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm

    def invoke(self, messages: Any) -> str:
        """Return the reply to messages."""
        return "".join(self.stream(messages))

    def stream(self, messages: Any) -> Iterator[str]:
        """Yield the parts of a reply to messages."""
        for part in self._llm.stream_chat([_to_message(message) for message in messages]):
            yield part.delta or ""


class _Conversations:
    """Opens chats with one model and the same options."""

    def __init__(self, rag: FlorenceRAG, llm: LLM | None, image_mode: ImageMode, options: ChatOptions) -> None:
        if check_image_mode(image_mode) == "auto" and llm is not None:
            image_mode = image_mode_for(llm)
        if image_mode == "text":
            options = {**options, "budget": Budget(max_images=0)}
        self._rag, self._model, self._options = rag, None if llm is None else LLMModel(llm), options

    def open(self, messages: Sequence[ChatMessage] = ()) -> Chat:
        """Return a chat that continues messages."""
        chat = self._rag.chat(self._model, **self._options)
        chat.history = list(_turns(messages, self._rag.index))
        return chat


@validate_arguments
class FlorenceQueryEngine(BaseQueryEngine):
    """Answers questions from an index: `FlorenceQueryEngine(rag, llm).query("What color is the car?")`.

    The LLM receives the images of the results, which are the source nodes in the order of their numbers.
    `metadata["citations"]` has the numbers that the answer cites.

    Args:
        rag: The index.
        llm: The LLM; None to answer by the VQA model and by quotes.
        image_mode: "text" describes the images instead of sending them; "auto" uses what the LLM declares.
        streaming: Whether the answers are StreamingResponses.
        **options: As for `FlorenceRAG.chat`.
    """

    def __init__(
        self,
        rag: FlorenceRAG,
        llm: LLM | None = None,
        *,
        image_mode: ImageMode = "auto",
        streaming: bool = False,
        **options: Unpack[ChatOptions],
    ) -> None:
        super().__init__(CallbackManager())
        self.rag, self._streaming = rag, streaming
        self._chats = _Conversations(rag, llm, image_mode, options)

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        metadata: dict[str, Any] = {}
        response = StreamingResponse(iter(()), [], metadata)  # type: ignore[arg-type]

        def parts() -> Iterator[str]:
            for part in self._chats.open().stream(query_bundle.query_str, query_bundle.image_path):
                if isinstance(part, Turn):
                    response.source_nodes += turn_to_nodes(self.rag, part)
                    metadata["citations"] = list(part.citations)
                else:
                    yield part

        response.response_gen = parts()  # type: ignore[assignment]
        return response if self._streaming else response.get_response()

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        return await asyncio.to_thread(self._query, query_bundle)

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}


class StreamedReply(StreamingAgentChatResponse):
    """A reply whose parts are read from a chat; its sources are complete after the last part."""

    parts: Iterator[str] = iter(())

    @property
    def response_gen(self) -> Generator[str, None, None]:
        """Yield the parts of the reply."""
        for part in self.parts:
            self.response += part
            yield part

    async def async_response_gen(self) -> AsyncGenerator[str, None]:
        """Yield the parts of the reply, which a worker thread reads."""
        parts = self.response_gen
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            yield part

    def __str__(self) -> str:
        return "".join([self.response, *self.response_gen])


@validate_arguments
class FlorenceChatEngine(BaseChatEngine):
    """Holds a conversation with an index: `FlorenceChatEngine(rag, llm).chat("What color is the car?")`.

    The replies in the memory carry the ids of their results, so any memory keeps what the next message may refer to.

    Args:
        rag: The index.
        llm: The LLM; None to answer by the VQA model and by quotes.
        memory: Where the messages are kept; by default, in this object.
        image_mode: As for `FlorenceQueryEngine`.
        **options: As for `FlorenceRAG.chat`.
    """

    def __init__(
        self,
        rag: FlorenceRAG,
        llm: LLM | None = None,
        *,
        memory: BaseMemory | None = None,
        image_mode: ImageMode = "auto",
        **options: Unpack[ChatOptions],
    ) -> None:
        self.rag, self._memory = rag, memory
        self._messages: list[ChatMessage] = []
        self._chats = _Conversations(rag, llm, image_mode, options)

    @property
    def chat_history(self) -> list[ChatMessage]:
        """The messages so far."""
        return self._messages if self._memory is None else self._memory.get_all()

    def reset(self) -> None:
        """Forget the conversation."""
        self._messages = []
        if self._memory is not None:
            self._memory.reset()

    def chat(self, message: str, chat_history: list[ChatMessage] | None = None, image: Any = None) -> AgentChatResponse:
        """Answer a message, which may come with an image; `chat_history` replaces the messages so far."""
        reply = self.stream_chat(message, chat_history, image)
        return AgentChatResponse(str(reply), source_nodes=reply.source_nodes)

    def stream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None, image: Any = None
    ) -> StreamedReply:
        """Answer a message in parts."""
        if chat_history is not None:
            self.reset()
            self._keep(chat_history)
        history = self._messages if self._memory is None else self._memory.get(input=message)
        reply = StreamedReply()
        reply.parts = self._parts(reply, self._chats.open(history), message, image)
        return reply

    async def achat(
        self, message: str, chat_history: list[ChatMessage] | None = None, image: Any = None
    ) -> AgentChatResponse:
        """Answer a message in a worker thread."""
        return await asyncio.to_thread(self.chat, message, chat_history, image)

    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None, image: Any = None
    ) -> StreamedReply:
        """Answer a message in parts."""
        return await asyncio.to_thread(self.stream_chat, message, chat_history, image)

    def _parts(self, reply: StreamedReply, chat: Chat, message: str, image: Any) -> Iterator[str]:
        for part in chat.stream(message, image):
            if not isinstance(part, Turn):
                yield part
                continue
            reply.source_nodes, reply.is_done = turn_to_nodes(self.rag, part), True
            record = {TURN: turn_to_dict(part)}
            answer = ChatMessage(part.answer.answer, role=MessageRole.ASSISTANT, additional_kwargs=record)
            self._keep([ChatMessage(message, role=MessageRole.USER), answer])

    def _keep(self, messages: Sequence[ChatMessage]) -> None:
        if self._memory is None:
            self._messages.extend(messages)
        else:
            self._memory.put_messages(list(messages))


def turn_to_nodes(rag: FlorenceRAG, turn: Turn) -> list[NodeWithScore]:
    """Return the results of a turn as nodes with their images, in the order of their numbers."""
    return [NodeWithScore(node=hit_to_node(hit, load_frame(rag, hit)), score=hit.score) for hit in turn.hits]


def _turns(messages: Sequence[ChatMessage], index: ChunkReader) -> Iterator[Turn]:
    """Yield the turns that messages record; a reply from elsewhere is a turn without results."""
    question = ""
    for message in messages:
        if message.role == MessageRole.USER:
            question = message.content or ""
        elif TURN in message.additional_kwargs:
            yield turn_from_dict(message.additional_kwargs[TURN], index)
        elif message.role == MessageRole.ASSISTANT and message.content:
            yield Turn(question, question, Answer(message.content, None))


def _to_message(message: dict[str, Any]) -> ChatMessage:
    """Return a message of the core as one of LlamaIndex."""
    content = message["content"]
    blocks: list[ContentBlock] = [
        TextBlock(text=block["text"])
        if block["type"] == "text"
        else ImageBlock(image=base64.b64decode(block["base64"]), image_mimetype=block["mime_type"])
        for block in ([{"type": "text", "text": content}] if isinstance(content, str) else content)
    ]
    return ChatMessage(role=message["role"], blocks=blocks)
