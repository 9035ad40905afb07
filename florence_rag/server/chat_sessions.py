"""The conversations of a server."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException

from florence_rag.chat.session import Chat

MAX_CHATS = 200
"""Conversations that are remembered; the one that was used longest ago is forgotten first."""


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
        if len(self._sessions) > MAX_CHATS:
            self._sessions.popitem(last=False)
        return id

    def require(self, id: str) -> Session:
        """Return a conversation, or raise HTTPException."""
        if id not in self._sessions:
            raise HTTPException(404, "this conversation is not known any more; begin a new one")
        self._sessions.move_to_end(id)
        return self._sessions[id]

    def end(self, id: str) -> None:
        """Forget a conversation."""
        self.require(id)
        del self._sessions[id]
