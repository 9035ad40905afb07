import numpy as np
import pytest
from PIL import Image

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.pdf import chunk_source
from florence_rag.types import Chunk
from tests.chunking.samples import pdf_image, pdf_page, pdf_stream, source

TYPED = b"BT /F1 18 Tf 40 440 Td (Membership) Tj ET"
EMPTY = pdf_stream("", b"")


def page_of(tmp_path, annotations: list[str], *objects: bytes, form: str = "") -> Chunk:
    path = tmp_path / "a.pdf"
    entries = " ".join(
        f"<< /Type /Annot /Rect [40 {40 + 30 * i} 240 {60 + 30 * i}] {each} >>" for i, each in enumerate(annotations)
    )
    path.write_bytes(
        pdf_page(TYPED, *objects, page=f"/Annots [{entries}]", catalog=f"/AcroForm << /Fields [] {form} >>")
    )
    (page,) = chunk_source(source(path, "pdf"), ChunkingConfig(page_side_px=100))
    return page


STATES = "/AP << /N << /Yes 6 0 R /Off 6 0 R >> >>"


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("/Subtype /Widget /FT /Tx /T (surname) /V (Zanzibarsky)", ["Zanzibarsky"]),
        ("/Subtype /Widget /FT /Tx /T (notes) /Ff 4096 /V (first line\rsecond line)", ["first line", "second line"]),
        ("/Subtype /Widget /FT /Tx /T (city) /V <FEFF6771 4EAC>", ["東京"]),
        ("/Subtype /Widget /FT /Tx /T (secret) /Ff 8192 /V (hunter2)", []),
        ("/Subtype /Widget /FT /Tx /T (unseen) /F 2 /V (internal)", []),
        (
            "/Subtype /Widget /FT /Ch /Ff 131072 /T (town) /Opt [(Quokkaville) (Other)] /V (Quokkaville)",
            ["Quokkaville"],
        ),
        ("/Subtype /Widget /FT /Ch /Ff 131072 /T (code) /Opt [[(qk) (Quokkaville)]] /V (qk)", ["Quokkaville", "qk"]),
        ("/Subtype /Widget /FT /Ch /Ff 2097152 /T (l) /Opt [(a1) (b2) (c3)] /I [1 2] /V [(b2) (c3)]", ["b2", "c3"]),
        (f"/Subtype /Widget /FT /Btn /T (newsletter) /V /Yes /AS /Yes {STATES}", ["newsletter: Yes"]),
        (f"/Subtype /Widget /FT /Btn /T (x1) /TU (Send me news) /V /Yes /AS /Yes {STATES}", ["Send me news: Yes"]),
        (f"/Subtype /Widget /FT /Btn /T (spam) /V /Off /AS /Off {STATES}", []),
        ("/Subtype /FreeText /Contents (Approved by Wombatova)", ["Approved by Wombatova"]),
        ("/Subtype /Text /Contents (Check clause Numbatson)", ["Check clause Numbatson"]),
        ("/Subtype /Highlight /QuadPoints [40 60 240 60 40 40 240 40] /Contents (Too high)", ["Too high"]),
        ("/Subtype /FreeText /RC (<body><p>Rich <b>words</b></p></body>)", ["Rich words"]),
        ("/Subtype /Stamp /Name /Confidential", ["Confidential"]),
        ("/Subtype /Stamp /Contents (Paid in March)", ["Paid in March"]),
        ("/Subtype /Popup /Contents (a copy)", []),
        ("/Subtype /Link /Contents (where to)", []),
    ],
)
def test_words_of_annotations_belong_to_their_page(tmp_path, annotation, words):
    page = page_of(tmp_path, [annotation], EMPTY)
    assert page.text.split("\n") == ["Membership", *words]
    assert page.ocr_boxes == ()


def test_a_field_without_an_appearance_is_read(tmp_path):
    field = "/Subtype /Widget /FT /Tx /T (surname) /DA (/Helv 12 Tf 0 g) /V (Zanzibarsky)"
    assert "Zanzibarsky" in page_of(tmp_path, [field], form="/NeedAppearances true").text


def drawn(text: str) -> bytes:
    entries = "/Type /XObject /Subtype /Form /BBox [0 0 200 20] /Resources << /Font << /F1 5 0 R >> >>"
    return pdf_stream(entries, f"BT /F1 12 Tf 2 5 Td ({text}) Tj ET".encode())


@pytest.mark.parametrize(
    "annotation",
    ["/Subtype /Widget /FT /Sig /T (signature)", "/Subtype /Stamp", "/Subtype /FreeText", "/Subtype /Watermark"],
)
def test_words_that_are_only_drawn_are_read(tmp_path, annotation):
    page = page_of(tmp_path, [f"{annotation} /F 4 /AP << /N 6 0 R >>"], drawn("Signed by Okapova"))
    assert page.text.split("\n") == ["Membership", "Signed by Okapova"] and page.ocr_boxes == ()


def test_the_image_of_a_stamp_is_read(tmp_path):
    stamp = "/Subtype /Stamp /F 4 /Contents (by me) /AP << /N 6 0 R >>"
    form = "/Type /XObject /Subtype /Form /BBox [0 0 200 20] /Resources << /XObject << /I 7 0 R >> >>"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 200), np.uint8))
    page = page_of(tmp_path, [stamp], pdf_stream(form, b"q 200 0 0 20 0 0 cm /I Do Q"), pdf_image(noise))
    assert page.text == "Membership\nby me" and len(page.ocr_boxes) == 1


def test_a_field_that_the_form_lacks_is_read(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(
        pdf_page(TYPED, page="/Annots [<< /Type /Annot /Subtype /Widget /Rect [0 0 9 9] /V (Zanzibar) >>]")
    )
    (page,) = chunk_source(source(path, "pdf"), ChunkingConfig(page_side_px=100))
    assert page.text == "Membership\nZanzibar"


def test_equal_annotations_are_read_once_and_all_in_order(tmp_path):
    notes = [f"/Subtype /Text /Contents ({words})" for words in ("one", "two", "one")]
    assert page_of(tmp_path, notes).text == "Membership\none\ntwo"
