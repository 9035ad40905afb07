"""Hits, answers and citations on a page, and nothing that a file could do to that page."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.testing import COLORS
from florence_rag.types import Answer, Citation, Hit, Locator
from florence_rag.viz import link_to, show, thumbnail_of
from florence_rag.viz.thumbnails import data_uri

ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "</div></body><svg onload=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://evil.example/?leak)",
    "\n\n# heading\n\n<iframe src=//evil.example>",
    "<http://evil.example>",
    "$\\href{javascript:alert(1)}{x}$",
    "&lt;script&gt;",
]


class Elements(HTMLParser):
    """Every element of a fragment with its attributes, and all text."""

    def __init__(self, fragment):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(fragment)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def image_of(fragment, number=0):
    uris = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", fragment)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uris[number]))))


def test_a_notebook_shows_hits_as_html(rag):
    hits = rag.search("blue", k=3)
    page = Elements(show(rag, hits)._repr_html_())
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == sum(hit.kind != "text" for hit in hits)
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in images)
    for hit in hits:
        assert hit.id in page.text and f"{hit.score:.3f}" in page.text
    assert "a blue & <wall>.png" in page.text


def test_the_thumbnail_shows_the_image(rag):
    (hit,) = rag.search("blue", k=1, kinds={"image"})
    pixels = image_of(show(rag, hit).html())
    assert np.abs(pixels.astype(int) - COLORS["blue"]).max() < 8


def test_an_image_is_warmer_where_it_shows_the_query(rag, monkeypatch):
    left = np.repeat([[1.0, 0.0]], 2, axis=0)
    monkeypatch.setattr(rag.retriever, "heat_map", lambda hit, query: left if query == "blue" else 0 * left)
    (hit,) = rag.search("blue", k=1, kinds={"image"})
    plain, cold, warm = (show(rag, hit, query=query).html() for query in (None, "pink", "blue"))
    assert plain == cold and Elements(warm).text == Elements(plain).text
    red = image_of(warm)[..., 0].astype(int)
    assert red[:, 5].min() > 100 > 50 > red[:, -5].max()
    with pytest.raises(InputError, match="MemoryIndex draws no heat maps"):
        show(rag.index, hit, query="blue")


def test_a_box_is_drawn(rag):
    (hit,) = rag.search("blue", k=1, kinds={"image"})
    citation = Citation(hit.id, "image", hit.source, Locator(box=(0.25, 0.25, 0.75, 0.75)), confidence=0.5)
    red = image_of(show(rag, citation).html())[..., 0].astype(int)
    assert red[50, 100] > 150 and red[100, 50] > 150  # on the edges
    assert red[100, 100] < 60 and red[10, 10] < 60  # inside and outside


def test_a_clip_has_its_start_and_end_and_opens_there(rag):
    (hit,) = rag.search("green", k=1, kinds={"clip"}, group=False)
    page = Elements(show(rag, hit).html())
    start, end = hit.locator.start_s, hit.locator.end_s
    assert f"{start:.1f}-{end:.1f} s" in page.text
    (link,) = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert re.fullmatch(r"file:///.*/walk\.mp4#t=[\d.]+,[\d.]+", link)


def test_an_answer_is_shown_with_its_citations(rag):
    answer = rag.ask("What color is it?", image=rag.search("blue", k=1, kinds={"image"})[0].id)
    gallery = show(rag, answer)
    page = Elements(gallery.html())
    assert page.text.startswith("blue (confidence")
    assert [tag for tag, _ in page.elements].count("img") == 1
    assert gallery.markdown().startswith("**blue** (confidence")


def test_an_image_outside_the_index_has_its_own_thumbnail(rag):
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[..., 2] = 255
    where = Locator(box=(0.25, 0.25, 0.75, 0.75))
    citation = Citation("", "image", "the given image", where, thumbnail=data_uri(pixels))
    drawn = image_of(show(rag, citation).html())
    assert drawn[2, 2].argmax() == 2
    assert drawn[15:18, 32].argmax(axis=-1).min() == 0  # the box
    assert thumbnail_of(rag, replace(citation, thumbnail="")) is None


@pytest.mark.parametrize("thumbnail", ["http://evil.example/a.jpg", "data:text/html;base64,PGI+", "/etc/passwd"])
def test_only_jpegs_are_thumbnails(rag, thumbnail):
    with pytest.raises(InputError, match="is not a JPEG as a data URI"):
        show(rag, Citation("", "image", "x", Locator(), thumbnail=thumbnail)).html()


def test_a_passage_is_quoted(rag):
    (hit,) = rag.search("bus", k=1, kinds={"text"})
    gallery = show(rag, hit)
    assert "<b>red</b> bus" in Elements(gallery.html()).text
    assert "> The &lt;b&gt;red&lt;/b&gt; bus leaves at nine\\." in gallery.markdown()


def test_missing_files_are_shown_without_an_image(rag):
    gone = Hit("f" * 32, "image", "/nowhere/a.png", Locator(), 0.5)
    cited = Citation("0" * 32, "image", "/nowhere/b.png", Locator())
    outside = Citation("", "image", "the given image", Locator())
    page = Elements(show(rag, [gone, cited, outside]).html())
    assert "img" not in dict(page.elements)
    assert "the given image" in page.text


def test_an_empty_result_is_shown_as_text(rag):
    assert "Nothing found" in show(rag, []).html()
    assert show(rag, []).markdown() == "Nothing found.\n"
    assert repr(show(rag, [])) == "Nothing found."


def test_the_repr_is_a_list(rag):
    lines = repr(show(rag, rag.search("blue", k=2))).splitlines()
    assert lines[0].startswith("1. ") and lines[1].startswith("2. ")


def test_other_objects_are_refused(rag):
    with pytest.raises(InputError, match="a dict cannot be shown"):
        show(rag, [{"id": "x"}])


def strange(attack):
    """Everything that comes from a file or from a model says the same."""
    hit = Hit(attack, "image", attack, Locator(), 0.5, text=attack, caption=attack, ocr=attack, explanation=attack)
    citation = Citation(attack, "image", f"/folder/{attack}", Locator(start_s=1.0, end_s=2.0), quote=attack)
    return Answer(attack, 0.5, (citation,), ((attack + "!", 0.2),)), hit


class StrangeRAG:
    def __init__(self, rag):
        self.image = rag.search("blue", k=1, kinds={"image"})[0]
        self.rag = rag

    def get(self, ids):
        return [replace(self.image, id=ids[0])]

    def frames(self, hit):
        return self.rag.frames(self.image)


@pytest.mark.parametrize("attack", ATTACKS)
def test_html_contains_no_foreign_markup(rag, attack):
    for found in strange(attack):
        fragment = show(StrangeRAG(rag), found).html()
        page = Elements(fragment)
        assert {tag for tag, _ in page.elements} <= {"div", "p", "b", "br", "span", "img", "a"}
        for _, attributes in page.elements:
            assert set(attributes) <= {"style", "class", "src", "alt", "href", "rel"}
            assert attributes.get("href", "file://").startswith("file://")
            assert attributes.get("src", "data:image/jpeg;").startswith("data:image/jpeg;")
        assert "mathjax_ignore" in fragment
        assert " ".join(attack.split()) in " ".join(page.text.split())


@pytest.mark.parametrize("attack", ATTACKS)
def test_markdown_contains_no_foreign_markup(rag, attack):
    for found in strange(attack):
        page = show(StrangeRAG(rag), found).markdown()
        assert "<" not in page.replace("(<file:", "")
        links = re.findall(r"(?<!\\)\]\(<?([^)>]*)", page)
        assert all(link.startswith(("file:", "data:image/jpeg;")) for link in links)
        assert not re.search(r"(?<!\\)\$", page)
        assert not re.search(r"^#", page, re.MULTILINE)


@pytest.mark.parametrize(
    ("source", "locator", "link"),
    [
        ("/v/walk.mp4", Locator(start_s=3.0, end_s=6.25), "file:///v/walk.mp4#t=3,6.25"),
        ("/v/walk.mp4", Locator(start_s=0.0), "file:///v/walk.mp4#t=0"),
        ("/d/a b.pdf", Locator(page=2), "file:///d/a%20b.pdf#page=2"),
        ("/p/a.png", Locator(), "file:///p/a.png"),
        ('/p/">#?&.png', Locator(), "file:///p/%22%3E%23%3F%26.png"),
        ("javascript:alert(1)", Locator(), ""),
        ("http://evil.example/a.png", Locator(), ""),
        ("item:42", Locator(), ""),
        ("the given image", Locator(), ""),
        ("", Locator(), ""),
    ],
)
def test_only_paths_become_links(source, locator, link):
    assert link_to(source, locator) == link
