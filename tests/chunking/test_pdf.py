import threading
from contextlib import suppress

import numpy as np
import pypdfium2 as pdfium
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from florence_rag.chunking import pdf
from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.pdf import chunk_source, read_frames
from florence_rag.errors import MediaError
from florence_rag.types import Locator, Skipped
from tests.chunking.samples import SHARED, encode, make_pdf, pdf_page, pdf_stream, pdf_with_attachment, scene, source

CONFIG = ChunkingConfig(page_side_px=200)


def write(tmp_path, data: bytes, name: str = "a.pdf"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_each_page_is_a_chunk_with_its_text_and_image(tmp_path):
    path = write(tmp_path, make_pdf(["The first page", "The second"], title="A  report"))
    first, second = chunk_source(source(path, "pdf"), CONFIG)
    assert [(c.kind, c.locator.page, c.text) for c in (first, second)] == [
        ("page", 1, "The first page"),
        ("page", 2, "The second"),
    ]
    assert first.metadata == {"pages": 2, "title": "A report"}
    (frame,) = first.frames
    assert frame.shape == (200, 150, 3) and frame.dtype == np.uint8 and frame.flags.writeable
    assert frame[5, 5].tolist() == [255, 255, 255] and frame.min() < 100
    assert not np.array_equal(frame, second.frames[0])


def test_a_page_can_be_rendered_again(tmp_path):
    path = write(tmp_path, make_pdf(["one", "two"]))
    chunks = list(chunk_source(source(path, "pdf"), CONFIG))
    assert np.array_equal(render_page(path, 2), chunks[1].frames[0])
    with pytest.raises(MediaError, match="has 2 pages, no page 3"):
        render_page(path, 3)


def render_page(path, number):
    (frame,) = read_frames(str(path), Locator(page=number), {}, CONFIG)
    return frame


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"Dear all", "is not a PDF: it starts like text"),
        (encode(scene(1), "JPEG"), "is not a PDF: it starts like a JPEG image"),
        (b"", "is empty"),
        (make_pdf(["secret"], password="sesame"), "is encrypted; save a copy without password"),
        (make_pdf(["x"])[:300], "is truncated or damaged"),
        (b"%PDF-1.7\n" + b"x" * 999, "is truncated or damaged"),
        (make_pdf([]), "is truncated or damaged"),
        (make_pdf(["thin"], size=(5000, 3)), "has no page that can be read"),
    ],
)
def test_an_unreadable_document_is_named_with_the_reason(tmp_path, data, reason):
    path = write(tmp_path, data, "odd.pdf")
    with pytest.raises(MediaError, match=rf"odd\.pdf' {reason}"):
        list(chunk_source(source(path, "pdf"), CONFIG))
    with pytest.raises(MediaError, match=r"odd\.pdf' "):
        render_page(path, 1)


def test_the_sample_password_opens_the_document():
    document = pdfium.PdfDocument(make_pdf(["secret"], password="sesame"), password="sesame")
    page = document[0]
    textpage = page.get_textpage()
    assert textpage.get_text_range() == "secret"
    for each in (textpage, page, document):
        each.close()


def test_a_damaged_page_is_reported_and_the_others_are_read(tmp_path):
    head, second, third = make_pdf(["one", "two", "three"]).rsplit(b"[0 0 300 400]", 2)
    path = write(tmp_path, head + b"[0 0 300 001]" + second + b"[0 0 300 400]" + third)
    first, third, skipped = chunk_source(source(path, "pdf"), CONFIG)
    assert [(c.locator.page, c.text) for c in (first, third)] == [(1, "one"), (3, "three")]
    assert skipped == Skipped(str(path), "damaged page", Locator(page=2))


def test_the_text_that_a_page_has_no_room_for_is_reported(tmp_path, monkeypatch):
    path = write(tmp_path, make_pdf(["a long page"]))
    monkeypatch.setattr(pdf, "fit_text", lambda text: text[:6])
    page, rest = chunk_source(source(path, "pdf"), CONFIG)
    assert page.text == "a long"
    assert rest == Skipped(str(path), "rest of the text of a long page", Locator(page=1))


def test_a_file_that_is_attached_to_a_place_is_reported(tmp_path):
    path = write(tmp_path, pdf_with_attachment())
    page, skipped = chunk_source(source(path, "pdf"), CONFIG)
    assert page.text == "the figures" and skipped == Skipped(str(path), "attachment", Locator(page=1))


@pytest.mark.parametrize(
    ("catalog", "reasons"),
    [
        ("/Names << /EmbeddedFiles << /Names [(a) 6 0 R (b) 6 0 R] >> >>", ["attachment", "attachment"]),
        ("/AcroForm << /XFA 7 0 R /Fields [] >> /NeedsRendering true", ["XFA form (print it to a new PDF)"]),
        ("/AcroForm << /Fields [] >>", []),
    ],
)
def test_what_is_not_on_the_pages_is_reported(tmp_path, catalog, reasons):
    attached = b"<< /Type /Filespec /F (a.txt) /EF << /F 7 0 R >> >>"
    path = write(tmp_path, pdf_page(b"", attached, pdf_stream("", b"x"), catalog=catalog))
    page, *skipped = chunk_source(source(path, "pdf"), CONFIG)
    assert page.locator.page == 1 and [each.reason for each in skipped] == reasons


@pytest.mark.parametrize("head", [b"\0" * 600, b"X-Header: mail\r\n" * 300])
def test_a_head_in_front_of_a_document_is_skipped(tmp_path, head):
    path = write(tmp_path, head + make_pdf(["Numbat"]))
    (page,) = chunk_source(source(path, "pdf"), CONFIG)
    assert page.text == "Numbat"
    assert render_page(path, 1).shape == (200, 150, 3)


def test_several_threads_read_several_documents(tmp_path):
    paths = [write(tmp_path, make_pdf([f"page {i}"] * 8), f"{i}.pdf") for i in range(4)]
    found: dict[int, list[str]] = {}

    def read(number: int) -> None:
        found[number] = [chunk.text for chunk in chunk_source(source(paths[number], "pdf"), CONFIG)]

    threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {i: [f"page {i}"] * 8 for i in range(4)}


def test_a_half_read_document_is_closed_and_another_can_be_read(tmp_path):
    path = write(tmp_path, make_pdf(["one", "two"]))
    chunks = chunk_source(source(path, "pdf"), CONFIG)
    assert next(chunks).text == "one"
    chunks.close()
    assert len(list(chunk_source(source(path, "pdf"), CONFIG))) == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1), at=st.floats(0, 1), hole=st.binary(max_size=40))
def test_damage_anywhere_gives_pages_or_a_media_error(tmp_path, cut, at, hole):
    data = make_pdf(["Hello", "World"], title="T")
    start = int(at * len(data))
    for damaged in (data[: int(cut * len(data))], data[:start] + hole + data[start + len(hole) :]):
        with suppress(MediaError):
            assert list(chunk_source(source(write(tmp_path, damaged), "pdf"), ChunkingConfig(page_side_px=64)))


@pytest.mark.skipif(not SHARED.exists(), reason="the shared documents are missing; synthetic ones cover the same")
def test_the_shared_documents_are_read():
    paper = list(chunk_source(source(SHARED / "documents" / "1706.03762.pdf", "pdf"), CONFIG))
    assert len(paper) == 15
    assert "The Transformer follows this overall architecture" in paper[2].text.replace("\n", " ")
    assert "convolutional" in paper[1].text  # broken at the end of a line
    digest = list(chunk_source(source(SHARED / "documents" / "market-digest.pdf", "pdf"), CONFIG))
    assert digest[0].metadata == {"pages": 5, "title": "Argus Market Digest"}
