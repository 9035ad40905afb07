"""Conversations as a REST API: each has an id and its history, and answers are streamed as server-sent events."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse

from florence_rag.chat.turn import Turn
from florence_rag.errors import FlorenceError
from florence_rag.server.chat_sessions import MAX_TURNS_EACH, Session
from florence_rag.server.search_routes import image_bytes
from florence_rag.server.service import Service, ServiceDependency
from florence_rag.tools.limits import MAX_CHARACTERS, MAX_IMAGE_CHARACTERS

router = APIRouter(prefix="/api/chats", tags=["chat"])

_BUSY = "this conversation is answering another message; wait for its end"


class MessageRequest(BaseModel):
    """A message of a conversation, which may refer to earlier results."""

    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, Field(max_length=MAX_CHARACTERS)] = ""
    image: str | None = Field(default=None, max_length=MAX_IMAGE_CHARACTERS, description="An image as a data URI.")
    stream: bool = Field(True, description="Whether to send the answer in parts, as server-sent events.")


@router.post("", status_code=201)
async def begin_chat(service: ServiceDependency) -> dict[str, str]:
    """Begin a conversation."""
    return {"id": service.chats.begin()}


@router.get("/{id}")
async def get_chat(service: ServiceDependency, id: str) -> dict[str, Any]:
    """Return the turns of a conversation."""
    return {"turns": [turn.to_dict() for turn in service.chats.require(id).chat.history]}


@router.delete("/{id}", status_code=204)
async def end_chat(service: ServiceDependency, id: str) -> None:
    """Forget a conversation."""
    service.chats.end(id)


@router.post("/{id}/messages")
async def send_message(service: ServiceDependency, id: str, request: MessageRequest) -> Response:
    """Answer a message: events `text` with parts of the answer, then one event `turn`, or `error`."""
    session = service.chats.require(id)
    if len(session.chat.history) >= MAX_TURNS_EACH:
        raise HTTPException(409, f"this conversation has {MAX_TURNS_EACH} messages, the most of one; begin a new one")
    image = image_bytes(request.image) if request.image else None
    if session.lock.locked():
        raise HTTPException(409, _BUSY)
    answer = _Answering(service, session, request.text, image)
    if request.stream:
        return StreamingResponse(answer.events(), media_type="text/event-stream")
    return JSONResponse((await answer.turn()).to_dict())


class _Answering:
    """The answer to one message, which a thread writes and the event loop sends."""

    def __init__(self, service: Service, session: Session, text: str, image: bytes | None) -> None:
        self._service, self._session, self._text, self._image = service, session, text, image
        self._parts: asyncio.Queue[str | Turn | None] = asyncio.Queue()
        self._loop, self._left = asyncio.get_running_loop(), threading.Event()

    async def turn(self) -> Turn:
        """Return the whole turn."""
        last = None
        async for part in self._stream():
            last = part
        assert isinstance(last, Turn)
        return last

    async def events(self) -> AsyncIterator[str]:
        """Yield server-sent events."""
        try:
            async for part in self._stream():
                yield _event("turn", part.to_dict()) if isinstance(part, Turn) else _event("text", {"text": part})
        except (FlorenceError, HTTPException) as error:
            yield _event("error", {"error": error.detail if isinstance(error, HTTPException) else str(error)})

    async def _stream(self) -> AsyncIterator[str | Turn]:
        call = asyncio.ensure_future(self._service.long(self._answer))
        call.add_done_callback(lambda _: self._parts.put_nowait(None))
        try:
            while (part := await self._parts.get()) is not None:
                yield part
            await call
        finally:  # also if the client has left
            self._left.set()

    def _answer(self) -> None:
        if not self._session.lock.acquire(blocking=False):  # here, because a call that is given up may never begin
            raise HTTPException(409, _BUSY)
        try:
            for part in self._session.chat.stream(self._text, self._image):
                if self._left.is_set():
                    return  # which ends the stream, and records that the answer was interrupted
                self._loop.call_soon_threadsafe(self._parts.put_nowait, part)
        finally:
            self._session.lock.release()


def _event(name: str, record: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(record)}\n\n"
