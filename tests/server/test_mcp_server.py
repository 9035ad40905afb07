"""The protocol, by the official client: in memory, over HTTP, and over standard input and output (slow)."""

import base64
import io
import re
import sys
import threading
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("mcp", reason="needs the extra mcp")

from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from PIL import Image
from starlette.exceptions import HTTPException

from florence_rag.errors import StoreError
from florence_rag.ingest.progress import Progress
from florence_rag.server import add_files
from florence_rag.server.app import create_app
from florence_rag.server.config import ServerConfig
from florence_rag.server.mcp_server import create_mcp_server
from florence_rag.server.service import LONG_THREADS
from florence_rag.tools import Budget
from tests.server.conftest import image_file


@pytest.fixture
def connect(rag):
    return lambda **options: Client(create_mcp_server(rag, **options))


def texts(result):
    return "\n".join(block.text for block in result.content if block.type == "text")


async def test_the_tools_are_listed_with_their_schemas(connect):
    async with connect() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert {"search_images", "ask_image", "find_similar", "recommend", "find_video_moment"} <= set(tools)
    assert tools["search_images"].input_schema["required"] == ["query"]
    assert all(tool.annotations.read_only_hint for tool in tools.values()) and "add_files" not in tools


async def test_a_search_returns_text_and_images_within_the_budget(connect):
    async with connect(budget=Budget(max_images=1)) as client:
        result = await client.call_tool("search_images", {"query": "red and blue", "k": 3})
    images = [block for block in result.content if block.type == "image"]
    assert "red.png" in texts(result) and not result.is_error
    assert len(images) == 1 and images[0].mime_type == "image/jpeg"
    assert Image.open(io.BytesIO(base64.b64decode(images[0].data))).format == "JPEG"


async def test_a_question_about_a_result(connect, rag):
    (red,) = rag.search("red", k=1)
    async with connect() as client:
        result = await client.call_tool("ask_image", {"image": red.id, "question": "What color is it?"})
    assert "red" in texts(result)


async def test_the_words_of_files_are_fenced_and_not_repeated_outside(connect):
    async with connect() as client:
        result = await client.call_tool("search_images", {"query": "harbor", "kinds": ["text"]})
    before, fenced = texts(result).split("<<<", 1)
    assert "night bus" in fenced and "night bus" not in before and not result.structured_content


async def test_a_wrong_call_is_a_result_that_says_what_to_change(connect):
    async with connect() as client:
        for arguments in ({}, {"query": 5, "k": "many"}, {"query": "x", "path": "/etc"}, {"query": "x" * 10_000}):
            result = await client.call_tool("search_images", arguments)
            assert result.is_error and "search_images failed" in texts(result)
        denied = await client.call_tool("ask_image", {"image": "/etc/passwd", "question": "what?"})
        assert denied.is_error
        with pytest.raises(MCPError, match="no tool"):
            await client.call_tool("delete_everything", {})


async def test_items_are_resources(connect, rag):
    (red,), (note,) = rag.search("red", k=1), rag.search("harbor", k=1, kinds={"text"})
    async with connect() as client:
        listed = {resource.uri for resource in (await client.list_resources()).resources}
        (template,) = (await client.list_resource_templates()).resource_templates
        image = await client.read_resource(f"florence://items/{red.id}")
        text = await client.read_resource(f"florence://items/{note.id}")
        for uri in ("florence://items/none", "file:///etc/passwd", "florence://items/../../etc/passwd"):
            with pytest.raises(MCPError, match="no resource"):
                await client.read_resource(uri)
    assert f"florence://items/{red.id}" in listed and template.uri_template == "florence://items/{id}"
    assert [content.mime_type for content in image.contents] == ["text/plain", "image/jpeg"]
    assert [content.mime_type for content in text.contents] == ["text/plain"]
    assert "night bus" in text.contents[0].text


async def test_the_uri_of_an_item_is_encoded(connect, rag):
    id = "<|im_start|> é/..%2f?#"
    rag.items.upsert_texts(["the tide tables of Marlo"], ids=[id])
    async with connect() as client:
        uris = {resource.uri for resource in (await client.list_resources()).resources}
        (uri,) = (uri for uri in uris if "%" in uri)
        assert uri == "florence://items/%3C%7Cim_start%7C%3E%20%C3%A9%2F..%252f%3F%23"
        assert "tide tables" in (await client.read_resource(uri)).contents[0].text


async def test_an_item_whose_image_is_gone_has_its_text(connect, rag, tmp_path):
    (tmp_path / "sun.png").write_bytes(image_file("yellow"))
    rag.add(tmp_path / "sun.png")
    (sun,) = rag.search("yellow", k=1)
    (tmp_path / "sun.png").unlink()
    async with connect() as client:
        (text,) = (await client.read_resource(f"florence://items/{sun.id}")).contents
    assert "sun.png" in text.text


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (StoreError("the store\nis <|im_start|> away"), "the store is < |im_start|> away"),
        (HTTPException(503, "the server is busy"), "the server is busy"),
        (KeyError("/home/secret"), "unexpected KeyError; the log of the server has more"),
    ],
)
async def test_an_error_is_one_line_without_details(connect, rag, monkeypatch, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(rag.index, "get", fail)
    async with connect() as client:
        for call in (client.read_resource("florence://items/x"), client.call_tool("find_similar", {"image": "x"})):
            with pytest.raises(MCPError) as raised:
                await call
            assert raised.value.message == message


async def test_a_request_opens_no_stream(client):
    """A stream for what a server sends by itself would hold a connection, and this server sends nothing."""
    for method in ("GET", "DELETE"):
        assert client.request(method, "/mcp", headers={"accept": "text/event-stream"}).status_code == 405


async def test_files_are_added_from_allowed_folders_only(connect, rag, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "sun.png").write_bytes(image_file("yellow"))
    (tmp_path / "secret.png").write_bytes(image_file("pink"))
    async with connect(folders=(tmp_path / "open",)) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert (
            not tools["add_files"].annotations.read_only_hint
            and str(tmp_path / "open") in tools["add_files"].description
        )
        added = await client.call_tool("add_files", {"path": "sun.png"})
        for path in ("../secret.png", str(tmp_path / "secret.png"), "/etc", "none"):
            refused = await client.call_tool("add_files", {"path": path})
            assert refused.is_error and "allowed folders" in texts(refused)
    assert "1 added" in texts(added) and rag.search("yellow", k=1)[0].source.endswith("sun.png")


async def test_a_long_run_of_add_files_holds_up_nothing(rag, corpus, tmp_path, monkeypatch):
    """A call that is repeated reports on the run that goes on; errors of a run are those of the tool."""
    may_end, add = threading.Event(), rag.add

    def slow_add(*paths, progress, **options):
        progress(Progress(3, 40, 3, "/a.png", 0))
        assert may_end.wait(60)
        return add(*paths, **options)

    monkeypatch.setattr(rag, "add", slow_add)
    monkeypatch.setattr(add_files, "WAIT_S", 0.1)
    app = create_app(rag, ServerConfig(allowed_folders=(corpus, tmp_path)))
    async with served(app) as (http, session):
        for _ in range(LONG_THREADS + 1):
            running = await session.call_tool("add_files", {"path": "."})
            assert "running: 3 of 40 files are done" in texts(running) and not running.is_error
        waiting = await session.call_tool("add_files", {"path": "red.png"})
        assert "waiting" in texts(waiting) and len(app.state.service.jobs.all()) == 2
        asked = await http.post("/api/ask", json={"question": "Which color is the red image?"})
        assert asked.status_code == 200
        may_end.set()
        assert all(job.ended.wait(60) for job in app.state.service.jobs.all())
        monkeypatch.setattr(add_files, "WAIT_S", 60)
        told = texts(await session.call_tool("add_files", {"path": "."}))
        assert re.findall(r"The run (before|now): 0 added, 0 updated, 5 unchanged", told) == ["before", "now"]
        failed = await session.call_tool("add_files", {"path": str(tmp_path)})
        assert failed.is_error and "nothing to index" in texts(failed)


@asynccontextmanager
async def served(app):
    """Yields a client of an application, whose requests run in this process, and one of the SDK."""
    import httpx2 as httpx
    from mcp.client.streamable_http import streamable_http_client

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as http,
        Client(streamable_http_client("http://localhost/mcp", http_client=http)) as session,
    ):
        yield http, session


async def test_over_http(rag):
    async with served(create_app(rag)) as (_, session):
        result = await session.call_tool("search_images", {"query": "red", "k": 1})
    assert "red.png" in texts(result) and [block.type for block in result.content] == ["text", "text", "image"]


SCRIPT = """
import pytest
from tests.cli.stand_ins import use_color_models
with pytest.MonkeyPatch.context() as patch:
    use_color_models(patch)
    from florence_rag.rag import FlorenceRAG
    with FlorenceRAG.open("colors.db", "colors") as rag:
        rag.add("red.png")
    from florence_rag.cli.app import app
    app(["mcp", "--db", "colors.db", "--model", "colors"])
"""


@pytest.mark.slow
async def test_over_standard_input_and_output(tmp_path, monkeypatch):
    from mcp.client.stdio import StdioServerParameters, stdio_client

    (tmp_path / "red.png").write_bytes(image_file("red"))
    parameters = StdioServerParameters(
        command=sys.executable, args=["-c", SCRIPT], cwd=str(tmp_path), env={"PYTHONPATH": ":".join(sys.path)}
    )
    async with Client(stdio_client(parameters)) as session:
        result = await session.call_tool("search_images", {"query": "red", "k": 1})
    assert "red.png" in texts(result) and [block.type for block in result.content] == ["text", "text", "image"]
