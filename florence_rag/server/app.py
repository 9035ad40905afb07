"""The application of a server: the page, the REST API, and the one place that turns errors into responses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Unpack

from fastapi import Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from florence_rag.answering.llm import ChatModel
from florence_rag.errors import FlorenceError, InputError, StoreError
from florence_rag.ingest.file_ingestor import RunOptions
from florence_rag.rag import FlorenceRAG
from florence_rag.server import chat_routes, index_routes, search_routes
from florence_rag.server.access import (
    COOKIE,
    MAX_BODY_BYTES,
    AccessControl,
    cookie_value,
    error_response,
    is_authorized,
)
from florence_rag.server.chat_sessions import ChatSessions
from florence_rag.server.config import ServerConfig
from florence_rag.server.mcp_server import create_mcp_server
from florence_rag.server.service import Service
from florence_rag.telemetry import get_logger
from florence_rag.tools import tools_for

log = get_logger(__name__)

STATIC = Path(__file__).parent / "static"


def create_app(
    rag: FlorenceRAG,
    config: ServerConfig | None = None,
    llm: str | ChatModel | None = None,
    **run_options: Unpack[RunOptions],
) -> FastAPI:
    """Return the application that serves an index, for any ASGI server.

    Args:
        rag: The index. It stays open when the application ends.
        config: The settings; by default, this machine only, and nothing can be changed.
        llm: A chat model or its name, for conversations; None to answer without a language model.
        **run_options: How index jobs proceed.
    """
    config = config or ServerConfig(read_only=True)
    tools = {tool.name: tool for tool in tools_for(rag)}
    service = Service(rag, config, tools, run_options, ChatSessions(lambda: rag.chat(llm)))
    folders = () if config.read_only else config.allowed_folders
    mcp = StreamableHTTPSessionManager(
        create_mcp_server(rag, service.long, folders, jobs=service.jobs),
        stateless=True,
        json_response=True,
        max_request_body_size=MAX_BODY_BYTES,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with mcp.run():
            yield
        service.close()

    app = FastAPI(
        title="florence_rag", version=version("florence-rag"), docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.service = service
    app.include_router(search_routes.router)
    app.include_router(chat_routes.router)
    app.include_router(index_routes.router)
    # GET would open a stream for what a server sends by itself, which is nothing.
    app.router.routes.append(Route("/mcp", StreamableHTTPASGIApp(mcp), methods=["POST"]))
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_api_route("/", _page, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/api/login", _log_in, methods=["POST"], include_in_schema=False)
    _add_error_handlers(app)
    app.add_middleware(AccessControl, config=config)
    return app


async def _page() -> FileResponse:
    return FileResponse(STATIC / "index.html")


async def _log_in(request: Request, token: Annotated[str, Body(embed=True, max_length=1000)]) -> Response:
    """Exchange the token for the cookie of the page."""
    expected = request.app.state.service.config.token
    sent = request.headers.mutablecopy()
    sent["authorization"] = f"Bearer {token}"
    if not is_authorized(sent, expected):
        return error_response(401, "this is not the token")
    response = JSONResponse({"ok": True})
    response.set_cookie(
        COOKIE, cookie_value(expected), httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
    return response


def _add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(FlorenceError, _florence_error)
    app.add_exception_handler(Exception, _unexpected_error)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = error_response(error.status_code, str(error.detail))
    response.headers.update(error.headers or {})
    return response


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    place = ".".join(str(each) for each in problem["loc"][1:])
    return error_response(422, f"{place}: {problem['msg']}" if place else problem["msg"])


def _florence_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, InputError):
        log.warning("a request failed: %s", error, extra={"event": "server.error"})
    status = 400 if isinstance(error, InputError) else 503 if isinstance(error, StoreError) else 500
    return error_response(status, str(error))


def _unexpected_error(request: Request, error: Exception) -> Response:
    """Answer without details, which are in the log: a message may contain what only the operator should see."""
    log.error("an unexpected error", exc_info=error, extra={"event": "server.error"})
    return error_response(500, f"unexpected {type(error).__name__}; the log of the server has more")
