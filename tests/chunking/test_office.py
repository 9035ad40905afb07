import numpy as np
import pytest

from florence_rag.chunking import ChunkingConfig, chunk, office, read_frames
from florence_rag.chunking.office import chunk_source
from florence_rag.errors import MediaError
from florence_rag.types import Chunk, Locator, Skipped
from tests.chunking.office_samples import JPEG, PNG, docx, epub, line, open_document, paragraph, pptx, xlsx
from tests.chunking.samples import encode, source

CONFIG = ChunkingConfig(passage_words=50)
RULE = encode(np.zeros((2, 600, 3), np.uint8), "PNG")
DOT = encode(np.zeros((32, 32, 3), np.uint8), "PNG")


def chunks_of(tmp_path, name: str, data: bytes) -> list[Chunk | Skipped]:
    path = tmp_path / name
    path.write_bytes(data)
    return list(chunk_source(source(path, "office"), CONFIG))


def test_passages_quote_their_span_and_images_are_read_again(tmp_path):
    media = {
        f"word/media/{name}": data
        for name, data in {"a.png": PNG, "rule.png": RULE, "b.jpg": JPEG, "copy.png": PNG, "dot.png": DOT}.items()
    }
    text = paragraph("The numbat eats ants. " * 40)
    found = chunks_of(tmp_path, "a.docx", docx(text, media))
    *passages, first, second = found
    assert len(passages) > 2 and passages[0].text.startswith("The numbat") and passages[1].locator.span[0] > 100
    assert [str(each.locator) for each in (first, second)] == ["word/media/a.png", "word/media/b.jpg"]
    assert len({each.id for each in found}) == len(found)
    for image in (first, second):
        (frame,) = read_frames(str(tmp_path / "a.docx"), image.kind, image.locator, image.metadata, CONFIG)
        assert np.array_equal(frame, image.frames[0]) and frame.shape == (120, 160, 3)


def test_slides_are_cited_by_their_number(tmp_path):
    data = pptx([line("One"), line("Two")], images={1: "i.png"})
    places = [(each.kind, each.locator.page, each.locator.part) for each in chunks_of(tmp_path, "a.pptx", data)]
    assert places == [("text", 1, None), ("text", 2, None), ("image", 2, "ppt/media/i.png")]


@pytest.mark.parametrize(
    ("name", "data", "metadata"),
    [
        ("a.xlsx", xlsx({"Q1": [["Okapi"]]}, title="Sales"), {"title": "Sales", "sheet": "Q1"}),
        ("a.epub", epub({"a.xhtml": "<h2>Mice</h2>"}), {"title": "A book", "chapter": "Mice"}),
        ("a.odt", open_document("<office:text><text:p>Okapi</text:p></office:text>"), {}),
    ],
)
def test_passages_name_their_sheet_or_chapter(tmp_path, name, data, metadata):
    (passage,) = chunks_of(tmp_path, name, data)
    assert passage.metadata == metadata


def test_spans_count_the_characters_of_all_sections(tmp_path):
    first, second = chunks_of(tmp_path, "a.xlsx", xlsx({"a": [["one"]], "b": [["two"]]}))
    assert first.locator.span == (0, 8) and second.locator.span == (10, 18)


def test_other_media_and_damaged_images_are_reported(tmp_path):
    media = {
        "word/media/a.emf": "x",
        "word/media/b.mp4": "xy",
        "word/media/c.png": PNG[:60],
        "docProps/thumbnail.jpeg": JPEG,
    }
    text, *skipped = chunks_of(tmp_path, "a.docx", docx(paragraph("x"), media))
    uri = str(tmp_path / "a.docx")
    assert text.text == "x" and skipped == [
        Skipped(uri, "embedded .emf", Locator(part="word/media/a.emf")),
        Skipped(uri, "embedded .mp4", Locator(part="word/media/b.mp4")),
        Skipped(uri, "damaged image", Locator(part="word/media/c.png")),
    ]


def test_an_image_whose_checksum_is_wrong_does_not_lose_the_document(tmp_path):
    data = docx(paragraph("x"), {"word/media/a.bmp": b"BM" + bytes(range(200)) * 9})
    at = data.index(b"word/media/a.bmp") + 40
    text, skipped = chunks_of(tmp_path, "a.docx", data[:at] + b"\xff\xff" + data[at + 2 :])
    assert text.text == "x" and skipped.reason == "damaged image"


def test_the_number_of_images_is_limited_and_the_rest_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(office, "MAX_IMAGES", 1)
    image, skipped = chunks_of(tmp_path, "a.docx", docx("", {"word/media/a.png": PNG, "word/media/b.jpg": JPEG}))
    assert (image.kind, skipped.reason) == ("image", "image after the first 1")


def test_a_document_with_nothing_to_read_is_named(tmp_path):
    with pytest.raises(MediaError, match=r"a\.docx' contains no text and no images"):
        chunks_of(tmp_path, "a.docx", docx(""))


def test_an_image_that_is_gone_is_named(tmp_path):
    (tmp_path / "a.docx").write_bytes(docx(paragraph("x")))
    with pytest.raises(MediaError, match=r"has no part 'word/media/a\.png'; index it again"):
        read_frames(str(tmp_path / "a.docx"), "image", Locator(part="word/media/a.png"), {}, CONFIG)


def test_the_medium_of_a_document_is_read_by_its_name(tmp_path):
    path = tmp_path / "Report.DOCX"
    path.write_bytes(docx(paragraph("Okapi")))
    assert [each.text for each in chunk(source(path, "office"))] == ["Okapi"]
