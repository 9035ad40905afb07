import pytest

from florence_rag import FlorenceRAG
from florence_rag.ingest.contents import delete_sources, selector
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame


@pytest.mark.parametrize(
    ("name", "selected", "not_selected"),
    [
        ("/p/a.jpg", ["/p/a.jpg"], ["/p/a.jpg.png", "/p/b.jpg", "/q/p/a.jpg"]),
        ("/p", ["/p/a.jpg", "/p/q/a.jpg", "tar:/p#0001.jpg"], ["/pq/a.jpg", "/p.jpg"]),
        ("/p/", ["/p/a.jpg"], ["/pq/a.jpg"]),
        ("/p/*.jpg", ["/p/a.jpg", "/p/.jpg"], ["/p/q/a.jpg", "/p/a.jpeg"]),
        ("/p/**/*.jpg", ["/p/a.jpg", "/p/q/r/a.jpg"], ["/q/a.jpg"]),
        ("/p/**", ["/p/a.jpg", "/p/q/a.jpg"], ["/q/a.jpg"]),
        ("/p/**/q/**/*.jpg", ["/p/q/a.jpg", "/p/r/q/s/q/t/a.jpg"], ["/p/a.jpg", "/p/r/a.jpg", "/q/q/a.jpg"]),
        ("/" + "*a" * 40 + "b", [f"/{'a' * 60}b"], [f"/{'a' * 200}"]),  # one that would backtrack for years
        ("/" + "**/*a/" * 40 + "b", ["/a" * 60 + "/b"], ["/a" * 100]),
        ("/*/a.jpg", ["/p/a.jpg"], ["/p/q/a.jpg"]),
        ("/p/?.jpg", ["/p/a.jpg"], ["/p/ab.jpg"]),
        ("/p/[a-c].jpg", ["/p/a.jpg", "/p/[a-c].jpg"], ["/p/d.jpg"]),
        ("/p/[!a-c].jpg", ["/p/d.jpg"], ["/p/a.jpg"]),
        ("/p/[z-a].jpg", ["/p/[z-a].jpg"], ["/p/z.jpg"]),
        ("/p/a+(1).jpg", ["/p/a+(1).jpg"], ["/p/aa1.jpg"]),
        ("file:///p/a%20b.jpg", ["/p/a b.jpg"], ["/p/a%20b.jpg"]),
        ("https://x.example/a.jpg?size=1", ["https://x.example/a.jpg?size=1"], ["https://x.example/a.jpg"]),
        ("s3://bucket/p", ["s3://bucket/p/a.jpg"], ["s3://bucket/pq"]),
        ("tar:/p/x.tar#a.jpg", ["tar:/p/x.tar#a.jpg"], ["tar:/p/x.tar#b.jpg"]),
        ("/p/x.tar", ["tar:/p/x.tar#a.jpg"], ["tar:/p/y.tar#a.jpg"]),
        ("cat-1", ["item:cat-1"], ["item:cat-12", "item:cat"]),
    ],
)
def test_a_name_selects_sources(name, selected, not_selected):
    matches = selector(name)
    assert [uri for uri in selected if not matches(uri)] == []
    assert [uri for uri in not_selected if matches(uri)] == []


def test_a_pattern_of_this_folder_selects_no_items(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert selector("*")(f"{tmp_path.resolve()}/a.jpg")
    assert not selector("*")("item:cat")


def test_images_of_deleted_items_are_deleted(tmp_path):
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), embedder, images=tmp_path / "images") as rag:
        rag.items.upsert_images([color_frame("red"), color_frame("blue")], ids=["red", "blue"])
        assert delete_sources(rag.index, rag.context.images, ["item:red", "item:gone"]) == 1
        assert [hit.id for hit in rag.search("blue")] == ["blue"]
        assert len(list((tmp_path / "images").iterdir())) == 1
