"""The conversations of a server."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException

from florence_rag.chat.session import Chat

MAX_CHATS, MAX_TURNS = 200, 2_000
"""Conversations that are remembered, and their turns together; what was used longest ago is forgotten first."""
MAX_TURNS_EACH = 500


@dataclass
class Session:
    """A conversation, and the lock of whoever answers its messages."""

    chat: Chat
    lock: threading.Lock = field(default_factory=threading.Lock)


class ChatSessions:
    """The conversations of a server, by ids that cannot be guessed. All methods are called by the event loop.

    Args:
        begin: Begins a conversation.
    """

    def __init__(self, begin: Callable[[], Chat]) -> None:
        self._begin = begin
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def begin(self) -> str:
        """Begin a conversation, and return its id."""
        id = secrets.token_urlsafe(16)
        self._sessions[id] = Session(self._begin())
        self._forget()
        return id

    def require(self, id: str) -> Session:
        """Return a conversation, or raise HTTPException."""
        if id not in self._sessions:
            raise HTTPException(404, "this conversation is not known any more; begin a new one")
        self._sessions.move_to_end(id)
        self._forget()
        return self._sessions[id]

    def _forget(self) -> None:
        """Forget conversations until the others, or the latest one alone, are few enough."""
        turns = sum(len(session.chat.history) for session in self._sessions.values())
        while len(self._sessions) > 1 and (len(self._sessions) > MAX_CHATS or turns > MAX_TURNS):
            turns -= len(self._sessions.popitem(last=False)[1].chat.history)

    def end(self, id: str) -> None:
        """Forget a conversation."""
        self.require(id)
        del self._sessions[id]
