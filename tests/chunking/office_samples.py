"""Small office documents and e-books, written as archives of XML."""

import io
from collections.abc import Mapping
from zipfile import ZIP_DEFLATED, ZipFile

from openpyxl import Workbook
from openpyxl.comments import Comment

from tests.chunking.samples import encode, scene

PNG, JPEG = encode(scene(1), "PNG"), encode(scene(2), "JPEG")
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OPEN = "urn:oasis:names:tc:opendocument:xmlns:"


def archive(members: Mapping[str, str | bytes]) -> bytes:
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return file.getvalue()


def relationships(**targets: str) -> str:
    """Return relationships to targets, each by an id that is its type with a number."""
    items = (
        f'<Relationship Id="{id}" Type="http://x/{id.rstrip("0123456789")}" Target="{target}"/>'
        for id, target in targets.items()
    )
    return f'<Relationships xmlns="http://x/relationships">{"".join(items)}</Relationships>'


def docx(body: str, members: Mapping[str, str | bytes] = {}, **parts: str) -> bytes:
    """Return a document; parts are the contents of its other parts by their types, such as header1."""
    styles = '<w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>'
    texts = {"styles": styles, **parts}
    return archive(
        {
            "_rels/.rels": relationships(officeDocument="word/document.xml"),
            "word/document.xml": f'<w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>',
            "word/_rels/document.xml.rels": relationships(**{name: f"{name}.xml" for name in texts}),
            **{f"word/{name}.xml": f'<w:part xmlns:w="{W}">{text}</w:part>' for name, text in texts.items()},
            **members,
        }
    )


def paragraph(text: str, style: str = "") -> str:
    mark = f'<w:pPr><w:pStyle w:val="{style}"/><w:tabs><w:tab w:val="left"/></w:tabs></w:pPr>' if style else ""
    return f"<w:p>{mark}<w:r><w:t>{text}</w:t></w:r></w:p>"


def pptx(slides: list[str], *, images: Mapping[int, str] = {}, notes: Mapping[int, str] = {}) -> bytes:
    """Return a presentation whose slides are shown in the reverse order of their names.

    images, notes: the image and the notes of some slides, by position from 0.
    """
    count = len(slides)
    names = [f"slides/slide{count - i}.xml" for i in range(count)]
    members: dict[str, str | bytes] = {
        "_rels/.rels": relationships(officeDocument="ppt/presentation.xml"),
        "ppt/presentation.xml": '<p:presentation xmlns:p="p" xmlns:r="r"><p:sldIdLst>'
        + "".join(f'<p:sldId id="{256 + i}" r:id="slide{i}"/>' for i in range(count))
        + "</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relationships(**{f"slide{i}": name for i, name in enumerate(names)}),
    }
    for i, (name, text) in enumerate(zip(names, slides, strict=True)):
        members[f"ppt/{name}"] = f'<p:sld xmlns:p="p" xmlns:a="a">{text}</p:sld>'
        targets = {}
        if i in images:
            targets["image1"] = f"../media/{images[i]}"
            members[f"ppt/media/{images[i]}"] = PNG
        if i in notes:
            targets["notesSlide1"] = f"../notes{i}.xml"
            members[f"ppt/notes{i}.xml"] = f'<p:notes xmlns:p="p" xmlns:a="a">{line(notes[i])}</p:notes>'
        members[f"ppt/slides/_rels/{name.split('/')[1]}.rels"] = relationships(**targets)
    return archive(members)


def line(text: str) -> str:
    return f"<a:p><a:r><a:t>{text}</a:t></a:r></a:p>"


def xlsx(sheets: Mapping[str, list[list[object]]], *, comment: str = "", title: str | None = None) -> bytes:
    workbook = Workbook()
    workbook.remove(workbook.active)
    workbook.properties.title = title
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
        if comment:
            sheet["A1"].comment = Comment(comment, "someone")
    file = io.BytesIO()
    workbook.save(file)
    return file.getvalue()


def open_document(content: str, members: Mapping[str, str | bytes] = {}) -> bytes:
    names = " ".join(f'xmlns:{name}="{OPEN}{name}:1.0"' for name in ("office", "text", "table", "draw"))
    body = f'<office:content {names} xmlns:xlink="xlink"><office:body>{content}</office:body></office:content>'
    return archive({"META-INF/manifest.xml": "<manifest/>", "content.xml": body, **members})


def epub(chapters: Mapping[str, str], members: Mapping[str, str | bytes] = {}) -> bytes:
    items = "".join(f'<item id="{i}" href="text/{name}"/>' for i, name in enumerate(chapters))
    spine = "".join(f'<itemref idref="{i}"/>' for i in range(len(chapters)))
    title = '<metadata xmlns:dc="dc"><dc:title>A  book</dc:title></metadata>'
    return archive(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container><rootfile full-path="OPS/book.opf"/></container>',
            "OPS/book.opf": f"<package>{title}<manifest>{items}</manifest><spine>{spine}</spine></package>",
            **{f"OPS/text/{name.replace('%20', ' ')}": text for name, text in chapters.items()},
            **members,
        }
    )
