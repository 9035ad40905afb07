"""Downloads of model files from a local server that also breaks off transfers and changes its content."""

import hashlib
import os
import shutil
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants, file_download

from florence_rag.errors import MissingModelError, ModelError
from florence_rag.models.downloads import Fetcher, is_local
from florence_rag.models.registry import CARDS, find_model
from tests.models.hub_server import serving

CONTENT = bytes(range(256)) * 5000


class Publisher(BaseHTTPRequestHandler):
    """Serves CONTENT; breaks off one transfer after `cut` bytes."""

    def do_GET(self):
        self.server.requests.append(self.headers.get("Range"))
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        content = self.server.content
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end, self.server.cut = start + self.server.cut if self.server.cut else len(content), None
        self.wfile.write(content[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    publisher = ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    publisher.requests, publisher.content, publisher.cut = [], CONTENT, None
    thread = threading.Thread(target=publisher.serve_forever, daemon=True)
    thread.start()
    publisher.url = f"http://127.0.0.1:{publisher.server_port}"
    yield publisher
    publisher.shutdown()
    publisher.server_close()
    thread.join()


def test_a_file_is_announced_downloaded_once_and_its_digest_recorded(server, tmp_path):
    announced, steps = [], []
    fetcher = Fetcher(announce=announced.append, progress=lambda done, total: steps.append((done, total)))
    path = fetcher.file(f"{server.url}/model.pth", about="model.pth, 1 MB, MIT", folder=tmp_path)
    assert path.read_bytes() == CONTENT
    assert announced == ["model.pth, 1 MB, MIT"]
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert (tmp_path / "model.pth.sha256").read_text().strip() == hashlib.sha256(CONTENT).hexdigest()
    assert Fetcher(offline=True).file(f"{server.url}/model.pth", folder=tmp_path) == path
    assert len(server.requests) == 1


def test_an_interrupted_download_is_resumed(server, tmp_path):
    server.cut = 1000
    with pytest.raises(ModelError, match=r"^not on this machine and cannot be fetched .*/model\.pth \(put it at"):
        Fetcher().file(f"{server.url}/model.pth", folder=tmp_path)
    assert not (tmp_path / "model.pth").exists()
    there = (tmp_path / "model.pth.part").stat().st_size
    assert Fetcher().file(f"{server.url}/model.pth", folder=tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={there}-" if there else None]


def test_a_complete_partial_file_is_used(server, tmp_path):
    (tmp_path / "model.pth.part").write_bytes(CONTENT)
    assert Fetcher().file(f"{server.url}/model.pth", folder=tmp_path).read_bytes() == CONTENT


def test_other_content_from_the_same_url_is_refused(server, tmp_path):
    Fetcher().file(f"{server.url}/model.pth", folder=tmp_path).unlink()
    server.content = b"something else"
    with pytest.raises(ModelError, match="has other content than the first time"):
        Fetcher().file(f"{server.url}/model.pth", folder=tmp_path)
    assert not (tmp_path / "model.pth").exists() and not (tmp_path / "model.pth.part").exists()


@pytest.mark.parametrize("address", ["missing.pth", None])
def test_a_failed_download_is_an_error_with_url_and_place(server, tmp_path, address):
    url = f"{server.url}/missing.pth" if address else "http://127.0.0.1:9/model.pth"
    with pytest.raises(ModelError) as error:
        Fetcher().file(url, folder=tmp_path)
    for part in (url, str(tmp_path)):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_offline_nothing_is_requested(server, tmp_path):
    with pytest.raises(ModelError, match="cannot be fetched"):
        Fetcher(offline=True).file(f"{server.url}/model.pth", folder=tmp_path)
    assert server.requests == []


def test_a_missing_repository_is_an_error_with_its_place():
    with pytest.raises(ModelError, match=r"'nobody/nothing' .*safetensors.*into a folder"):
        Fetcher(offline=True).repository("nobody/nothing")


def test_local_models_need_no_network(tmp_path):
    built_in = CARDS["florence-tiny"]
    assert is_local(built_in)
    assert is_local(replace(built_in, source=str(tmp_path)))
    for elsewhere in ("nobody/nothing", "https://127.0.0.1:9/model.pth"):
        assert not is_local(replace(built_in, source=elsewhere))
    assert not is_local(CARDS["azure-florence-2023-04-15"])


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with the repository "owner/name", whose weights are also there as a pickle, and an empty cache."""
    published = tmp_path / "published"
    published.mkdir()
    for name in ("config.json", "model.safetensors", "pytorch_model.bin"):
        (published / name).write_bytes(CONTENT[:200_000])
    with serving({"owner/name": published}) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        address = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
        yield server


ELSEWHERE = replace(CARDS["siglip2-base"], source="owner/name")


def test_a_repository_is_announced_and_downloaded_once_without_its_pickles(hub):
    announced = []
    folder = Fetcher(announce=announced.append).repository("owner/name", about=str(ELSEWHERE))
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert announced == [str(ELSEWHERE)] and "1500 MB, license Apache-2.0" in announced[0]
    hub.requested.clear()
    assert Fetcher(offline=True).repository("owner/name") == folder
    assert is_local(ELSEWHERE) and hub.requested == []


def test_an_incomplete_repository_is_not_local(hub):
    hub.cut = 1000
    with pytest.raises(ModelError, match=r"^not on this machine and cannot be fetched \(.+\): 'owner/name' \(put the"):
        Fetcher().repository("owner/name")
    assert not is_local(ELSEWHERE)
    with pytest.raises(ModelError, match="cannot be fetched"):
        Fetcher(offline=True).repository("owner/name")
    hub.cut = None
    folder = Fetcher().repository("owner/name")
    assert (folder / "model.safetensors").read_bytes() == CONTENT[:200_000]


def test_a_copy_that_lost_a_file_is_incomplete_and_is_completed(hub):
    lost = Fetcher().repository("owner/name") / "model.safetensors"
    lost.unlink()
    assert not is_local(ELSEWHERE)
    with pytest.raises(MissingModelError, match=r"is incomplete: 1 file\(s\) are missing \(model\.safetensors\)"):
        Fetcher(offline=True).repository("owner/name")
    assert (Fetcher().repository("owner/name") / lost.name).read_bytes() == CONTENT[:200_000]


def test_a_copy_without_a_list_of_its_files_is_completed_if_some_are_missing(hub, tmp_path):
    folder = Fetcher().repository("owner/name")
    shutil.rmtree(next((tmp_path / "cache").glob("models--*/trees")))  # as older releases of the library left it
    (folder / "model.safetensors").unlink()
    assert not is_local(ELSEWHERE)
    assert (Fetcher().repository("owner/name") / "model.safetensors").read_bytes() == CONTENT[:200_000]
    assert is_local(ELSEWHERE)


def test_a_repository_that_does_not_exist(hub):
    with pytest.raises(ModelError, match="there is no repository 'owner/typo' on Hugging Face, or it needs a login"):
        Fetcher().repository("owner/typo")


def test_later_models_are_announced_before_the_first_byte(hub):
    announced = []
    later = [CARDS["florence-2-base"], CARDS["florence-tiny"]]
    Fetcher(announce=lambda what: announced.append((what, len(hub.requested))), later=later).repository("owner/name")
    assert announced == [("https://huggingface.co/owner/name", 0), (f"afterwards {CARDS['florence-2-base']}", 0)]


@pytest.mark.parametrize("of", ["repository", "file"])
def test_missing_later_models_are_in_the_same_line(of, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    fetcher = Fetcher(offline=True, later=[CARDS["florence-2-base"], CARDS["unicl-swin-tiny"], CARDS["florence-tiny"]])
    with pytest.raises(ModelError) as error:
        fetcher.repository("owner/name") if of == "repository" else fetcher.file("https://127.0.0.1:9/a.pth")
    message = str(error.value)
    places = ("huggingface.co/owner/name/tree/main",) if of == "repository" else ("https://127.0.0.1:9/a.pth",)
    for part in (*places, "huggingface.co/florence-community/Florence-2-base/tree/main", "in21k_yfcc14m_gcc15m.pth"):
        assert part in message
    assert "\n" not in message


COMMIT = "a" * 40


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Return the cache of the repository owner/name, next to a folder that it must not lead to."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    root = tmp_path / "models--owner--name"
    for folder in (root / "snapshots" / COMMIT, tmp_path / "elsewhere", root / "refs"):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
    (root / "refs" / "main").write_text(COMMIT)
    return root


def _link(path, target):
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(target)


LEADING_OUT = {
    "a path": lambda root: (root / "refs" / "main").write_text("../../elsewhere"),
    "an absolute path": lambda root: (root / "refs" / "main").write_text(str(root.parent / "elsewhere")),
    "the folder above": lambda root: (root / "refs" / "main").write_text(".."),
    "no name": lambda root: (root / "refs" / "main").write_text(""),
    "a null character": lambda root: (root / "refs" / "main").write_text("a\0b"),
    "no Unicode": lambda root: (root / "refs" / "main").write_bytes(b"\xff"),
    "a long name": lambda root: (root / "refs" / "main").write_text("a" * 5000),
    "a device": lambda root: _link(root / "refs" / "main", "/dev/zero"),
    "a circle": lambda root: _link(root / "refs" / "main", "main"),
    "a pipe": lambda root: ((root / "refs" / "main").unlink(), os.mkfifo(root / "refs" / "main")),
    "a folder": lambda root: ((root / "refs" / "main").unlink(), (root / "refs" / "main").mkdir()),
    "a linked snapshot": lambda root: _link(root / "snapshots" / COMMIT, root.parent / "elsewhere"),
    "linked snapshots": lambda root: (
        (root.parent / "elsewhere" / COMMIT).mkdir(),
        _link(root / "snapshots", root.parent / "elsewhere"),
    ),
}


@pytest.mark.parametrize("edit", LEADING_OUT.values(), ids=LEADING_OUT)
def test_a_cache_that_leads_elsewhere_is_refused(edit, cached):
    card = find_model("owner/name")
    assert is_local(card) and Fetcher(offline=True).repository("owner/name") == cached / "snapshots" / COMMIT
    edit(cached)
    for use in (lambda: is_local(card), lambda: Fetcher(offline=True).repository("owner/name")):
        with pytest.raises(ModelError, match=r"^refs/main in the cache '.*models--owner--name' names no folder"):
            use()


def test_a_cache_behind_a_link_is_used(cached, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "link"))
    assert is_local(find_model("owner/name"))
