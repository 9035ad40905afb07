import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from florence_rag.errors import StoreError
from florence_rag.ingest.progress import Progress
from florence_rag.testing import COLORS
from florence_rag.types import Hit, Locator
from tests.server.conftest import image_file, leave_in_the_middle


def finished(client, job):
    for _ in range(600):
        found = client.get(f"/api/jobs/{job['id']}").json()
        if found["state"] not in ("waiting", "running"):
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def upload(client, name, data=b""):
    response = client.put(f"/api/uploads/{name}", content=data or image_file("yellow"))
    assert response.status_code == 201, response.text
    return response.json()["upload"]


def test_info_says_what_the_server_holds_and_allows(client, corpus):
    info = client.get("/api/info").json()
    assert info["chunks"]["image"] == 3 and info["folders"] == [str(corpus)] and info["uploads"]


def test_items_and_sources(client, rag, corpus):
    (red,) = rag.search("red", k=1)
    assert client.get(f"/api/items/{red.id}").json()["source"] == str(corpus / "red.png")
    assert client.get("/api/items/unknown").status_code == 404
    listed = client.get("/api/sources", params={"name": f"{corpus}/*.png", "limit": 2}).json()
    assert listed["sources"] == [str(corpus / "blue.png"), str(corpus / "green.png")] and listed["sources_count"] == 3


def test_thumbnails_and_images_are_jpegs(client, rag):
    for query in ("red", "purple"):
        (hit,) = rag.search(query, k=1)
        for what in ("thumbnail", "thumbnail?side=32&box=true", "image"):
            response = client.get(f"/api/items/{hit.id}/{what}")
            assert response.headers["content-type"] == "image/jpeg" and response.content[:2] == b"\xff\xd8"
    (note,) = rag.search("harbor", k=1, kinds={"text"})
    assert client.get(f"/api/items/{note.id}/thumbnail").status_code == 404


def test_an_item_that_was_replaced_is_shown_as_it_is_now(client, rag, tmp_path):
    for color in ("pink", "yellow"):
        (path := tmp_path / f"{color}.png").write_bytes(image_file(color))
        rag.items.upsert_images([path], ids=["1"])
        for what in ("thumbnail", "image", "media"):
            response = client.get(f"/api/items/1/{what}")
            pixel = np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB"))[0, 0]
            assert np.abs(pixel.astype(int) - COLORS[color]).max() < 12, what
            assert response.headers["cache-control"] == "private, no-cache"


def test_a_video_is_sent_in_ranges(client, rag, corpus):
    (clip,) = rag.search("purple", k=1, kinds={"clip"})
    data = (corpus / "purple.mp4").read_bytes()
    url = f"/api/items/{clip.id}/media"
    whole = client.get(url)
    assert whole.content == data and whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes" and "sandbox" in whole.headers["content-security-policy"]
    part = client.get(url, headers={"range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == data[10:20]
    assert part.headers["content-range"] == f"bytes 10-19/{len(data)}"
    assert client.get(url, headers={"range": "bytes=-5"}).content == data[-5:]
    assert client.get(url, headers={"range": f"bytes={len(data)}-"}).status_code == 416
    changed = client.get(url, headers={"range": "bytes=0-3", "if-range": '"old"'})
    assert changed.status_code == 200 and changed.content == data
    assert client.head(url).status_code in (200, 405)


def test_what_a_browser_could_run_is_only_downloaded(client, rag, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<script>alert(1)</script> the golden harbor")
    rag.add(page)
    hit = next(hit for hit in rag.search("golden harbor") if hit.source == str(page))
    response = client.get(f"/api/items/{hit.id}/media")
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd",
        "/etc/ssl/private/key.pem",
        "relative.png",
        "https://example.org/a.mp4",
        "tar:/a.tar#b.mp4",
        "item:x",
    ],
)
def test_a_database_of_a_stranger_serves_no_other_file(client, rag, monkeypatch, source):
    hit = Hit("a" * 32, "image", source, Locator(), 0.0)
    monkeypatch.setattr(rag.index, "get", lambda ids: [hit])
    assert client.get(f"/api/items/{hit.id}/media").status_code == 404


def test_a_file_that_is_gone_or_no_file_is_named(client, rag, tmp_path):
    path = tmp_path / "gone.png"
    path.write_bytes(image_file("orange"))
    rag.add(path)
    (hit,) = rag.search("orange", k=1)
    path.unlink()
    for what in ("media", "image", "thumbnail"):
        response = client.get(f"/api/items/{hit.id}/{what}")
        assert response.status_code in (400, 404) and response.json()["error"]
    os.mkfifo(path)
    assert client.get(f"/api/items/{hit.id}/media").status_code == 404


@pytest.mark.parametrize("id", ["..%2F..%2Fetc%2Fpasswd", "%00", "x" * 3000, "é", "' or 1==1"])
def test_an_id_is_never_a_path(reader, id):
    response = reader.get(f"/api/items/{id}/media")
    assert response.status_code in (400, 404) and "error" in response.json()


def test_an_upload_is_indexed_and_a_bad_one_is_reported(client, rag):
    uploads = [upload(client, "sun.png"), upload(client, "broken.jpg", b"this is no image")]
    job = client.post("/api/jobs", json={"uploads": uploads}).json()
    report = finished(client, job)["report"]
    assert report["added"] == 1 and report["failed_count"] == 1
    assert report["failed"][0]["source"].endswith("broken.jpg") and report["failed"][0]["reason"]
    assert Path(rag.search("yellow", k=1)[0].source).name == "sun.png"
    assert client.get("/api/jobs").json()[0]["state"] == "done"


def test_the_name_of_an_upload_leads_nowhere_else(client, tmp_path):
    names = (
        "../../x.png",
        "..%2F..%2Fx.png",
        "%2Fetc%2Fx.png",
        ".x.png",
        "a%00b.png",
        "é" * 300 + ".png",
        "..png",
        ".png",
    )
    for name in names:
        response = client.put(f"/api/uploads/{name}", content=image_file("red"))
        if response.status_code == 201:
            stored = (tmp_path / "uploads" / response.json()["upload"]).resolve()
            assert stored.parent.parent == (tmp_path / "uploads").resolve() and stored.is_file(), name
        else:
            assert response.status_code in (400, 404, 405), name
    assert not (tmp_path / "x.png").exists()


def test_only_media_are_taken(client):
    for name in ("a.exe", "a.svg", "a.tar", "a.parquet", "a", "a.png.sh"):
        response = client.put(f"/api/uploads/{name}", content=b"x")
        assert response.status_code == 400 and "supported are" in response.json()["error"], name


def test_a_huge_upload_is_refused_and_leaves_nothing(serve, tmp_path):
    client = serve(max_upload_mb=1)
    assert client.put("/api/uploads/a.png", content=b"x" * 1_000_001).status_code == 413
    parts = (b"x" * 100_000 for _ in range(50))
    assert client.put("/api/uploads/a.png", content=parts).status_code == 413
    assert not list((tmp_path / "uploads").rglob("*.png"))


def test_nothing_is_left_of_an_upload_whose_client_leaves(client, tmp_path):
    leave_in_the_middle(client, "PUT", "/api/uploads/a.png", [image_file("red"), b"more"], None)
    assert list((tmp_path / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        {"paths": ["/etc"]},
        {"paths": ["../.."]},
        {"paths": ["missing"]},
        {"paths": ["https://example.org/a.png"]},
        {"paths": ["*.png"]},
        {"paths": ["\0"]},
        {"uploads": ["../../etc/passwd"]},
        {"uploads": ["0123456789ab/../../x.png"]},
        {},
    ],
)
def test_only_allowed_places_are_indexed(reader, body):
    response = reader.post("/api/jobs", json=body)
    assert response.status_code == 400 and response.json()["error"]


def test_a_link_out_of_an_allowed_folder_is_not_followed(serve, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "s.png").write_bytes(image_file("pink"))
    folder = tmp_path / "open"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "ok.png").write_bytes(image_file("orange"))
    client = serve(allowed_folders=(folder,))
    assert client.post("/api/jobs", json={"paths": ["link"]}).status_code == 400
    report = finished(client, client.post("/api/jobs", json={"paths": [str(folder)]}).json())["report"]
    assert report["added"] == 1


def test_a_job_shows_its_progress_and_can_be_cancelled(client, rag, corpus, monkeypatch):
    def add(*paths, progress, **_):
        for done in range(10_000):
            progress(Progress(done, 10_000, done, "/a.png", 0))
            time.sleep(0.01)

    monkeypatch.setattr(rag, "add", add)
    first = client.post("/api/jobs", json={"paths": [str(corpus)]}).json()
    second = client.post("/api/jobs", json={"paths": [str(corpus)]}).json()
    while not client.get(f"/api/jobs/{first['id']}").json()["progress"]:
        time.sleep(0.01)
    assert client.get(f"/api/jobs/{second['id']}").json()["state"] == "waiting"
    client.delete(f"/api/jobs/{second['id']}")
    client.delete(f"/api/jobs/{first['id']}")
    assert finished(client, first)["state"] == finished(client, second)["state"] == "cancelled"
    assert client.delete("/api/jobs/none").status_code == 404


def test_a_cancelled_run_keeps_finished_files_and_can_be_completed(client, rag, tmp_path, serve):
    folder = tmp_path / "many"
    folder.mkdir()
    for number, color in enumerate(("black", "white", "gray", "brown")):
        (folder / f"{number}.png").write_bytes(image_file(color))
    client = serve(allowed_folders=(folder,))
    job = client.post("/api/jobs", json={"paths": ["."]}).json()
    client.delete(f"/api/jobs/{job['id']}")
    assert finished(client, job)["state"] in ("cancelled", "done")
    report = finished(client, client.post("/api/jobs", json={"paths": ["."]}).json())["report"]
    assert report["added"] + report["unchanged"] == 4 and not report["failed"]


def test_the_error_of_a_job_is_its_own(client, rag, corpus, monkeypatch):
    def add(*_, **__):
        raise StoreError("the disk is full")

    monkeypatch.setattr(rag, "add", add)
    job = finished(client, client.post("/api/jobs", json={"paths": [str(corpus)]}).json())
    assert job["state"] == "failed" and "disk is full" in job["error"]


def test_sources_are_deleted_and_their_files_stay(client, rag, corpus):
    red = str(corpus / "red.png")
    assert client.post("/api/sources/delete", json={"sources": [red, "/no/such"]}).status_code == 404
    assert client.post("/api/sources/delete", json={"sources": [red]}).json() == {"sources": 1, "chunks": 1}
    assert red not in rag.index.sources() and os.path.exists(red)


def test_a_read_only_server_changes_nothing(serve, rag, corpus):
    client = serve(read_only=True, allowed_folders=(corpus,))
    before = rag.index.sources()
    for method, path, body in (
        ("POST", "/api/jobs", {"paths": [str(corpus)]}),
        ("POST", "/api/sources/delete", {"sources": [str(corpus / "red.png")]}),
        ("PUT", "/api/uploads/a.png", {}),
    ):
        assert client.request(method, path, json=body).status_code == 403, path
    assert rag.index.sources() == before
    assert client.get("/api/info").json()["folders"] == []
