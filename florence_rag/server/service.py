"""What the requests of a server share: the index, the threads, the thumbnails and the jobs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from florence_rag.ingest.file_ingestor import RunOptions
from florence_rag.rag import FlorenceRAG
from florence_rag.server.chat_sessions import ChatSessions
from florence_rag.server.config import ServerConfig
from florence_rag.server.index_jobs import IndexJobs
from florence_rag.server.media import ThumbnailCache
from florence_rag.server.work_pool import WorkPool
from florence_rag.tools.base import Tool

T = TypeVar("T")

SHORT_THREADS, LONG_THREADS = 8, 4
MAX_WAITING = 200


@dataclass
class Service:
    """The state of a server. Short calls, such as searches, never wait for long ones, such as answers.

    Attributes:
        rag: The index.
        config: The settings.
        tools: The tools of agents.
        run_options: How index jobs proceed.
        chats: The conversations.
    """

    rag: FlorenceRAG
    config: ServerConfig
    tools: dict[str, Tool]
    run_options: RunOptions
    chats: ChatSessions
    thumbnails: ThumbnailCache = field(default_factory=ThumbnailCache)

    def __post_init__(self) -> None:
        self.jobs = IndexJobs(self.rag, self.run_options)
        self._short = WorkPool("short", SHORT_THREADS, MAX_WAITING, self.config.timeout_s)
        self._long = WorkPool("long", LONG_THREADS, MAX_WAITING, self.config.timeout_s)

    async def short(self, call: Callable[[], T]) -> T:
        """Return the result of a call that takes less than a second."""
        return await self._short.run(call)

    async def long(self, call: Callable[[], T]) -> T:
        """Return the result of a call that may take longer."""
        return await self._long.run(call)

    def require_writable(self) -> None:
        """Raise HTTPException if clients may not change the index."""
        if self.config.read_only:
            raise HTTPException(403, "this server is read-only")

    def close(self) -> None:
        """End the jobs and the threads."""
        self.jobs.close()
        self._short.close()
        self._long.close()


def _service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceDependency = Annotated[Service, Depends(_service_of)]
