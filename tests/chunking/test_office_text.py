from datetime import date, datetime

import pytest

from florence_rag.chunking import office_text
from florence_rag.chunking.office_text import Section, read_sections, read_title
from florence_rag.chunking.zip_package import open_package
from florence_rag.errors import MediaError
from tests.chunking.office_samples import docx, epub, line, open_document, paragraph, pptx, xlsx


def sections(tmp_path, suffix: str, data: bytes) -> list[Section]:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    with open_package(str(path)) as package:
        return list(read_sections(package))


TABLE = "<w:tbl><w:tr><w:tc>{}</w:tc><w:tc>{}</w:tc></w:tr></w:tbl>"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (paragraph("Income", "berschrift1") + paragraph("Twelve."), "# Income\n\nTwelve."),
        (TABLE.format(paragraph("Quokka"), paragraph("77")), "Quokka | 77"),
        ("<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r></w:p>", "a\tb\nc"),
        (
            "<w:p><w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del></w:p>",
            "new",
        ),
        ("<w:p><w:hyperlink><w:r><w:t>a link</w:t></w:r></w:hyperlink></w:p>", "a link"),
        (TABLE.format(f"<w:p/>{paragraph('a')}<w:p/>", TABLE.format(paragraph("b"), "")), "a | b"),
        (f"<w:sdt><w:sdtContent>{paragraph('a field')}</w:sdtContent></w:sdt>", "a field"),
        (f"<w:p><w:r><w:t>out</w:t><w:txbxContent>{paragraph('box')}</w:txbxContent></w:r></w:p>", "out\n\nbox"),
        ("<w:p><w:r><w:drawing><w:docPr descr='a red car'/></w:drawing></w:r></w:p>", "a red car"),
        (
            f"<w:AlternateContent><w:Choice>{paragraph('x')}</w:Choice><w:Fallback>{paragraph('x')}</w:Fallback></w:AlternateContent>",
            "x",
        ),
    ],
)
def test_the_words_of_a_document_are_read_in_order(tmp_path, body, text):
    assert sections(tmp_path, ".docx", docx(body)) == [Section(text)]


@pytest.mark.parametrize(
    "data",
    [
        docx(paragraph("Okapi")),
        pptx([line("Okapi")]),
        xlsx({"a": [["Okapi"]]}),
        open_document("<office:text><text:p>Okapi</text:p></office:text>"),
        epub({"a.xhtml": "<p>Okapi"}),
    ],
)
@pytest.mark.parametrize("suffix", [".docx", ".pptx", ".xlsx", ".odt", ".epub"])
def test_a_document_with_the_name_of_another_format_is_read(tmp_path, suffix, data):
    assert "Okapi" in sections(tmp_path, suffix, data)[0].text


def test_headers_notes_and_comments_are_read_once(tmp_path):
    letterhead = paragraph("Wombat Ltd")
    data = docx(
        paragraph("x"), header1=letterhead, header2=letterhead, comments=f"<w:comment>{paragraph('Why?')}</w:comment>"
    )
    assert sections(tmp_path, ".docm", data) == [Section("x\n\nWombat Ltd\n\nWhy?")]


def test_slides_are_read_in_the_order_of_the_show(tmp_path):
    table = f"<a:tbl><a:tr><a:tc>{line('cell')}</a:tc><a:tc>{line('b')}</a:tc></a:tr></a:tbl>"
    data = pptx(
        [line("First"), f"<p:grpSp>{line('grouped')}</p:grpSp>{table}"], images={1: "i.png"}, notes={0: "say hello"}
    )
    assert sections(tmp_path, ".ppsx", data) == [
        Section("# Slide 1\n\nFirst\n\nsay hello", 1),
        Section("# Slide 2\n\ngrouped\n\ncell | b", 2, images=("ppt/media/i.png",)),
    ]


def test_cells_are_read_as_they_are_typed(tmp_path):
    rows = [
        ["Kunde", "Betrag", "Tag"],
        [None, 10023, date(2024, 3, 1)],
        ["Grün\nGmbH", 12.5, datetime(2024, 3, 1, 8, 30)],
    ]
    first, second, notes = sections(tmp_path, ".xlsx", xlsx({"Umsätze": rows, "Leer": []}, comment="a remark"))
    assert first == Section(
        "# Umsätze\n\nKunde | Betrag | Tag\n10023 | 2024-03-01\nGrün GmbH | 12.5 | 2024-03-01 08:30:00",
        metadata={"sheet": "Umsätze"},
    )
    assert second.metadata == {"sheet": "Leer"} and "a remark" in notes.text


def test_a_huge_sheet_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(office_text, "MAX_CELLS", 9)
    with pytest.raises(MediaError, match="more than 9 cells; split it"):
        sections(tmp_path, ".xlsx", xlsx({"a": [[1, 2, 3]] * 4}))


SHEET = """<office:spreadsheet><table:table table:name="Blatt"><table:table-row><table:table-cell><text:p>Okapi</text:p>
</table:table-cell><table:table-cell><text:p>33</text:p></table:table-cell></table:table-row><table:table-row
table:number-rows-repeated="1000000"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>
</table:table></office:spreadsheet>"""
SLIDES = """<office:presentation><draw:page><text:p>One</text:p></draw:page><draw:page><draw:frame>
<draw:image xlink:href="./Pictures/a.png"/>
</draw:frame><text:p>Two</text:p></draw:page></office:presentation>"""
ARTICLE = """<office:text><text:tracked-changes><text:p>removed</text:p></text:tracked-changes>
<text:h text:outline-level="2">Caracal</text:h>
<text:p>Some <text:span>spanned</text:span>
 words<text:s/>of <text:a>it<text:note><text:note-citation>1</text:note-citation><text:p
>a note</text:p></text:note></text:a>.</text:p></office:text>"""


@pytest.mark.parametrize(
    ("suffix", "content", "found"),
    [
        (".odt", ARTICLE, [Section("## Caracal\n\nSome spanned words of it.\n\na note\n\nfooter")]),
        (".ods", SHEET, [Section("# Blatt\n\nOkapi | 33", metadata={"sheet": "Blatt"})]),
        (".odp", SLIDES, [Section("# Slide 1\n\nOne", 1), Section("# Slide 2\n\nTwo", 2, images=("Pictures/a.png",))]),
    ],
)
def test_open_documents_are_read(tmp_path, suffix, content, found):
    styles = '<s xmlns:style="s"><style:master-page><p><t>footer</t></p></style:master-page></s>'
    assert sections(tmp_path, suffix, open_document(content, {"styles.xml": styles})) == found


def test_the_words_of_charts_in_open_documents_are_read(tmp_path):
    chart = "<c><chart><title><p><t>Sales by quarter</t></p></title></chart></c>"
    data = open_document("<office:text><text:p>x</text:p></office:text>", {"Object 1/content.xml": chart})
    assert [each.text for each in sections(tmp_path, ".odt", data)] == ["x", "Sales by quarter"]


def test_a_chapter_that_a_book_names_again_is_read_once(tmp_path):
    package = '<package><item id="0" href="a.xhtml"/><spine>' + '<itemref idref="0"/>' * 500 + "</spine></package>"
    data = epub({}, {"OPS/book.opf": package, "OPS/a.xhtml": "<p>The end.</p>"})
    assert sections(tmp_path, ".epub", data) == [Section("The end.")]


def test_the_chapters_of_a_book_are_read_in_its_order(tmp_path):
    chapters = {"b.xhtml": "<h1 id='x'>On <i>mice</i></h1><p>They eat.</p>", "a%20b.xhtml": "<p>The end.</p>"}
    assert sections(tmp_path, ".epub", epub(chapters)) == [
        Section("On mice\n\nThey eat.", metadata={"chapter": "On mice"}),
        Section("The end."),
    ]


@pytest.mark.parametrize(
    ("suffix", "data", "title"),
    [(".xlsx", xlsx({"a": []}, title="Sales"), "Sales"), (".epub", epub({}), "A book"), (".docx", docx(""), "")],
)
def test_the_title_of_a_document_is_read(tmp_path, suffix, data, title):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    with open_package(str(path)) as package:
        assert read_title(package) == title
