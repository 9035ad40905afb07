"""`florence-rag mcp` passes its options on; tests/server/test_mcp_server.py speaks the protocol."""

import sys

import pytest

pytest.importorskip("mcp", reason="needs the extra mcp")


@pytest.fixture
def created(opened_with, monkeypatch):
    """What the server was created with; it ends at once."""
    from florence_rag.server import mcp_server

    calls = []
    monkeypatch.setattr(mcp_server, "create_mcp_server", lambda rag, **options: calls.append(options))
    monkeypatch.setattr(mcp_server, "run_on_stdio", lambda server: None)
    return calls


def test_nothing_but_the_protocol_is_printed(run, created):
    outcome = run("mcp", "--db", "x.db", "--max-images", 2)
    assert (outcome.code, outcome.out) == (0, "")
    assert created[0]["budget"].max_images == 2 and created[0]["folders"] == ()


def test_read_only_leaves_out_the_folders(run, created, tmp_path):
    run("mcp", "--db", "x.db", "--allow-folder", tmp_path)
    run("mcp", "--db", "x.db", "--allow-folder", tmp_path, "--read-only")
    assert [options["folders"] for options in created] == [(tmp_path,), ()]


def test_a_folder_that_does_not_exist_is_named(run, created):
    outcome = run("mcp", "--db", "x.db", "--allow-folder", "/no/such/folder")
    assert outcome.code == 1 and "/no/such/folder" in outcome.err and not created


def test_a_missing_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp.server.lowlevel.server", None)
    monkeypatch.delitem(sys.modules, "florence_rag.server.mcp_server", raising=False)
    outcome = run("mcp", "--db", "x.db")
    assert outcome.code == 1 and "florence-rag[mcp]" in outcome.err
