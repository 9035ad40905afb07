import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server.conftest import image_file


def files(response):
    assert response.status_code == 200, response.text
    return [Path(hit["source"]).name for hit in response.json()["hits"]]


def as_uri(data):
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def test_a_text_finds_an_image(reader):
    assert files(reader.get("/api/search", params={"text": "something red", "limit": 1})) == ["red.png"]
    assert files(reader.post("/api/search", json={"text": "blue", "limit": 1})) == ["blue.png"]


def test_an_image_alone_with_a_text_and_by_a_region(reader):
    image = as_uri(image_file("green", "red"))
    assert set(files(reader.post("/api/search", json={"image": image, "limit": 2}))) == {"green.png", "red.png"}
    assert files(reader.post("/api/search", json={"image": image, "text": "red", "limit": 1})) == ["red.png"]
    region = {"image": image, "box": [0, 0, 0.45, 1], "limit": 1}
    assert files(reader.post("/api/search", json=region)) == ["green.png"]


def test_an_item_finds_what_is_like_it(client, rag):
    (purple,) = rag.search("purple", k=1)
    hits = client.post("/api/search", json={"id": purple.id, "text": "blue", "limit": 3}).json()["hits"]
    assert hits and purple.source not in {hit["source"] for hit in hits}


@pytest.mark.parametrize(
    ("restriction", "expected"),
    [
        ({"kinds": ["text"]}, {"note.txt"}),
        ({"source": "een"}, {"green.png"}),
        ({"tags": ["sea"]}, {"blue.png"}),
        ({"tags": ["sea", "night"]}, set()),
        ({"from_s": 0}, {"purple.mp4"}),
        ({"from_s": 60}, set()),
        ({"to_s": 1, "kinds": ["clip"]}, {"purple.mp4"}),
        ({"filter": {"source": {"$icontains": "RED.png"}}}, {"red.png"}),
    ],
)
def test_filters(client, rag, restriction, expected):
    (blue,) = rag.search("blue", k=1)
    rag.set_tags({blue.id: ["sea"]})
    assert set(files(client.post("/api/search", json={"text": "blue harbor", **restriction}))) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "nothing to search for"),
        ({"text": "  "}, "nothing to search for"),
        ({"text": "red", "box": [0, 0, 1, 1]}, "give the image"),
        ({"image": "/etc/passwd"}, "not an id"),
        ({"image": "file:///etc/hostname"}, "not an id"),
        ({"image": "https://example.org/a.png"}, "URLs are not fetched"),
        ({"image": "data:image/png;base64,AAAA"}, "not an image"),
        ({"image": as_uri(b"<svg xmlns='http://www.w3.org/2000/svg'/>")}, "image"),
        ({"image": as_uri(image_file("red")[:70])}, "image"),
        ({"image": as_uri(image_file("red")), "box": [0.5, 0, 0.5, 1]}, "box"),
        ({"id": "0" * 32}, "no chunk has the id"),
        ({"text": "red", "filter": {"a": {"$where": 1}}}, "$where"),
        ({"text": "red", "filter": {"a": [0] * 1000}}, "1,000"),
    ],
)
def test_a_wrong_query_is_one_line(reader, body, message):
    response = reader.post("/api/search", json=body)
    assert response.status_code == 400, response.text
    assert message in response.json()["error"] and "\n" not in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "red", "limit": 0}, "limit"),
        ({"text": "red", "limit": 10**9}, "limit"),
        ({"text": "x" * 5000}, "text"),
        ({"text": "red", "kinds": ["sound"]}, "kinds"),
        ({"text": "red", "filter": "id == 1"}, "filter"),
        ({"text": "red", "kind": ["image"]}, "kind"),
        ({"text": "red", "kind" * 100_000: 1}, "kind"),
        ({"image": "a" * 31_000_000}, "larger than"),
    ],
)
def test_a_wrong_type_or_size_names_the_field(reader, body, field):
    response = reader.post("/api/search", json=body)
    assert response.status_code in (413, 422)
    assert field in response.json()["error"] and len(response.json()["error"]) < 3000


def test_a_body_that_is_no_json(reader):
    response = reader.post("/api/search", content=b"{", headers={"content-type": "application/json"})
    assert response.status_code == 422 and response.json()["error"]


def test_hostile_json_is_one_line(reader):
    for body in (
        '{"text": "red", "from_s": NaN}',
        '{"text": "red", "to_s": 1e999}',
        '{"text": "red", "min_relevance": NaN}',
        '{"text": "\\ud800"}',
        '{"id": ""}',
        "[" * 100_000,
        '{"text": "red", "filter": ' + '{"a": ' * 3000 + "1" + "}" * 3001,
        "null",
    ):
        response = reader.post("/api/search", content=body, headers={"content-type": "application/json"})
        assert response.status_code in (400, 422) and "\n" not in response.json()["error"], body[:80]


def test_a_question_is_answered_about_the_index_and_about_an_image(client, rag):
    answer = client.post("/api/ask", json={"question": "When does the night bus leave the harbor?"}).json()
    assert Path(answer["citations"][0]["source"]).name == "note.txt"
    about = {"question": "what color is it?", "image": as_uri(image_file("pink"))}
    assert client.post("/api/ask", json=about).json()["answer"] == "pink"
    (green,) = rag.search("green", k=1)
    assert client.post("/api/ask", json={"question": "What color is it?", "id": green.id}).json()["answer"] == "green"
    assert client.post("/api/ask", json={"question": "color?", "id": "/etc/passwd"}).status_code == 404


def test_a_heat_map_is_a_jpeg(client, rag):
    (red,) = rag.search("red", k=1)
    response = client.post(f"/api/items/{red.id}/heat-map", json={"text": "red"})
    assert response.headers["content-type"] == "image/jpeg" and response.content[:2] == b"\xff\xd8"
    (note,) = rag.search("harbor", k=1, kinds={"text"})
    assert client.post(f"/api/items/{note.id}/heat-map", json={"text": "red"}).status_code == 400


def test_tools_are_called_as_agents_call_them(client, rag):
    names = {tool["name"] for tool in client.get("/api/tools").json()}
    assert {"search_images", "ask_image"} <= names
    (red,) = rag.search("red", k=1)
    answered = client.post("/api/tools/ask_image", json={"image": red.id, "question": "what color is it?"}).json()
    assert "red" in answered["text"] and answered["result"]["answer"] == "red"
    assert client.post("/api/tools/ask_image", json={"image": "/etc/passwd", "question": "?"}).status_code == 400
    assert client.post("/api/tools/rm", json={}).status_code == 404


def test_twenty_clients_are_served_and_short_calls_overtake_long_ones(client, rag, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(rag, "ask", lambda *_, **__: release.wait(30) or pytest.fail("never released"))
    with ThreadPoolExecutor(40) as threads:
        long = [threads.submit(client.post, "/api/ask", json={"question": "q"}) for _ in range(20)]
        short = [threads.submit(client.get, "/api/search", params={"text": "red", "limit": 1}) for _ in range(20)]
        assert [files(each.result(30)) for each in short] == [["red.png"]] * 20
        assert not any(each.done() for each in long)
        release.set()


def test_a_call_that_takes_too_long_is_given_up(serve, rag, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(rag, "search", lambda *_, **__: release.wait(30) and [])
    response = serve(timeout_s=0.2).get("/api/search", params={"text": "red"})
    release.set()
    assert response.status_code == 504 and "0.2 s" in response.json()["error"]


def test_an_unexpected_error_tells_nothing_of_the_inside(serve, rag, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("secret of the operator")

    monkeypatch.setattr(rag, "search", fail)
    client = serve()
    client._transport.raise_server_exceptions = False
    response = client.get("/api/search", params={"text": "red"})
    assert response.status_code == 500 and "secret" not in response.text
    assert "unexpected RuntimeError" in response.json()["error"]


def test_the_api_describes_itself(reader):
    paths = reader.get("/openapi.json").json()["paths"]
    assert {"/api/search", "/api/ask", "/api/items/{id}/media", "/api/jobs"} <= set(paths)
