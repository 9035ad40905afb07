"""Extracts the text of office documents and e-books, in sections: slides, sheets, chapters or the whole document.

docs/log.md describes why no converter does it.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any
from xml.etree.ElementTree import Element

from florence_rag.chunking.formats import encrypted_error
from florence_rag.chunking.text import decode_html, html_to_text
from florence_rag.chunking.zip_package import ZipPackage
from florence_rag.errors import MediaError, MissingExtraError

MAX_CELLS = 1_000_000
_HEADING_STYLE = re.compile(r"(?:heading|title|subtitle) ?([1-6]?)", re.IGNORECASE)
_HTML_HEADING = re.compile(r"<h[1-6][^>]{0,300}>(.{1,2000}?)</h[1-6]", re.IGNORECASE | re.DOTALL)
_SHEET_NOTES = re.compile(r"xl/(?:comments|drawings/drawing|charts/chart|diagrams/data).*\.xml")
_PROPERTIES = ("docProps/core.xml", "meta.xml")
_PARAGRAPHS = frozenset(("p", "h", "comment", "cm"))
_ROWS = frozenset(("tr", "table-row"))
_NOT_SHOWN = frozenset(("Fallback", "del", "moveFrom", "pPr", "rPr", "tracked-changes", "note-citation"))
_SPACES = re.compile(r"[ \t\r\n]+")
_WHITESPACE = {"tab": "\t", "br": "\n", "cr": "\n", "line-break": "\n", "s": " "}
_NOTES = frozenset(("header", "footer", "footnotes", "endnotes", "comments", "notesSlide", "chart", "diagramData"))
_FONT_OBFUSCATION = frozenset(("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"))


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document with a place of its own.

    Attributes:
        text: Its text, with headings as in Markdown.
        slide: The number of the slide, from 1.
        metadata: The name of the sheet or chapter.
        images: The names of the members that are images in it, if the document says so.
    """

    text: str
    slide: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[str, ...] = ()


def read_sections(package: ZipPackage) -> Iterator[Section]:
    """Yield the sections of a document in order. Its parts tell its format, because names may be wrong."""
    if "META-INF/container.xml" in package.names:
        yield from _read_epub(package)
    elif "content.xml" in package.names:
        yield from _read_open_document(package)
    else:
        main = next(each.target for each in package.relationships("") if each.type == "officeDocument")
        root = package.xml(main)
        yield from _OFFICE_READERS[_name(root)](package, main, root)


def read_title(package: ZipPackage) -> str:
    """Return the title in the properties of a document; "" if there is none."""
    properties = (name for name in package.names if name in _PROPERTIES or name.endswith(".opf"))
    titles = (
        " ".join("".join(each.itertext()).split()) for name in properties for each in _all(package.xml(name), "title")
    )
    return next(titles, "")


def _read_docx(package: ZipPackage, main: str, root: Element) -> Iterator[Section]:
    parts = package.relationships(main)
    headings: dict[str, int] = {}
    for style in (style for part in parts if part.type == "styles" for style in package.xml(part.target)):
        name = next((_attribute(each, "val") for each in style if _name(each) == "name"), "")
        if match := _HEADING_STYLE.fullmatch(name):
            headings[_attribute(style, "styleId")] = int(match[1] or 1)
    yield Section(_join((*_blocks(root, headings), *_notes(package, main))))


def _read_pptx(package: ZipPackage, main: str, root: Element) -> Iterator[Section]:
    targets = {each.id: each.target for each in package.relationships(main)}
    for number, item in enumerate(_all(root, "sldId"), start=1):
        slide = next(targets[value] for key, value in item.items() if key.endswith("}id"))
        images = tuple(each.target for each in package.relationships(slide) if each.type == "image")
        blocks = (f"# Slide {number}", *_blocks(package.xml(slide)), *_notes(package, slide))
        yield Section(_join(blocks), number, images=images)


def _read_xlsx(package: ZipPackage, main: str, root: Element) -> Iterator[Section]:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise MissingExtraError("openpyxl", "office") from error
    cells = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features that the library does not read
        for sheet in load_workbook(package.file, read_only=True, data_only=True, keep_links=False).worksheets:
            sheet.reset_dimensions()  # files may declare millions of empty cells
            lines = [f"# {sheet.title}\n"]
            for row in sheet.iter_rows(values_only=True):
                cells += len(row) + 1
                if cells > MAX_CELLS:
                    raise MediaError(f"{package.uri!r} has more than {MAX_CELLS:,} cells; split it into smaller files")
                lines.append(" | ".join(_cell_text(value) for value in row if value is not None))
            yield Section("\n".join(filter(None, lines)), metadata={"sheet": sheet.title})
    notes = (block for name in package.names if _SHEET_NOTES.fullmatch(name) for block in _blocks(package.xml(name)))
    yield Section(_join(notes))


def _cell_text(value: Any) -> str:
    if isinstance(value, datetime) and value.time() == time():
        value = value.date()
    return " ".join(str(value).split())


def _read_open_document(package: ZipPackage) -> Iterator[Section]:
    """Yield the slides of a presentation, the sheets of a spreadsheet, or a whole text with headers and footers."""
    if b"encryption-data" in package.text("META-INF/manifest.xml"):
        raise encrypted_error(package.uri)
    body = next(_all(package.xml("content.xml"), "body"))
    (content,) = body
    if _name(content) == "presentation":
        for number, slide in enumerate(_all(content, "page"), start=1):
            images = tuple(_attribute(each, "href").removeprefix("./") for each in _all(slide, "image"))
            yield Section(_join((f"# Slide {number}", *_blocks(slide))), number, images=images)
    elif _name(content) == "spreadsheet":
        for sheet in (each for each in content if _name(each) == "table"):
            name = _attribute(sheet, "name")
            yield Section(_join((f"# {name}", "\n".join(_blocks(sheet)))), metadata={"sheet": name})
    else:
        pages = _all(package.xml("styles.xml"), "master-page") if "styles.xml" in package.names else ()
        yield Section(_join((*_blocks(content), *(block for page in pages for block in _blocks(page)))))
    objects = [name for name in package.names if name.endswith("/content.xml")]  # charts and formulas
    if objects:
        yield Section(_join(block for name in objects for block in _blocks(package.xml(name))))


def _read_epub(package: ZipPackage) -> Iterator[Section]:
    if "META-INF/encryption.xml" in package.names:
        methods = _all(package.xml("META-INF/encryption.xml"), "EncryptionMethod")
        if any(each.get("Algorithm") not in _FONT_OBFUSCATION for each in methods):
            raise encrypted_error(package.uri)
    root = next(_all(package.xml("META-INF/container.xml"), "rootfile")).get("full-path", "")
    book = package.xml(root)
    files = {each.get("id"): package.resolve(root, each.get("href", "")) for each in _all(book, "item")}
    # A few bytes that name a chapter again and again would stand for a library.
    for name in dict.fromkeys(files.get(each.get("idref"), "") for each in _all(book, "itemref")):
        if name in package.names:
            markup = decode_html(package.text(name), name)
            heading = _HTML_HEADING.search(markup)
            chapter = html_to_text(heading[1])[1] if heading else ""
            yield Section(html_to_text(markup)[1], metadata={"chapter": chapter} if chapter else {})


def _notes(package: ZipPackage, part: str) -> Iterator[str]:
    """Yield each block of the headers, notes, comments, charts and diagrams of a part once."""
    notes = (each.target for each in package.relationships(part) if each.type in _NOTES)
    yield from dict.fromkeys(block for name in notes for block in _blocks(package.xml(name)))


def _blocks(element: Element, headings: Mapping[str, int] = {}) -> Iterator[str]:
    """Yield the paragraphs, the rows of tables, and the descriptions of images below an element, in order.

    Args:
        element: An element of an Office or OpenDocument file.
        headings: The level of each style that is a heading, by its id.
    """
    for child in element:
        name = _name(child)
        if name in _ROWS:
            yield " | ".join(filter(None, (" ".join(filter(None, _blocks(cell, headings))) for cell in child)))
        elif name == "strCache":  # the names in a chart
            yield " ".join(each.text or "" for each in _all(child, "v"))
        elif name not in _NOT_SHOWN:
            if name in _PARAGRAPHS:
                yield _heading_mark(child, headings) + "".join(_inline_text(child)).strip()
            yield child.get("descr", "")
            yield from _blocks(child, headings)  # text boxes and comments stand in paragraphs


def _inline_text(element: Element) -> Iterator[str]:
    """Yield the text of a paragraph without the paragraphs in it.

    Office keeps text in elements of the name "t" or "text"; in an OpenDocument, it stands between elements.
    """
    is_mixed = "opendocument" in element.tag
    if is_mixed or _name(element) in ("t", "text"):
        yield _SPACES.sub(" ", element.text or "")
    for child in element:
        name = _name(child)
        yield _WHITESPACE.get(name, "")
        if name not in _PARAGRAPHS and name not in _NOT_SHOWN:
            yield from _inline_text(child)
        if is_mixed:
            yield _SPACES.sub(" ", child.tail or "")


def _heading_mark(paragraph: Element, headings: Mapping[str, int]) -> str:
    """Return "# " for a heading of level 1, and so on; "" for other paragraphs."""
    if _name(paragraph) == "h":
        level = int(_attribute(paragraph, "outline-level") or 1)
    else:
        style = next(_all(paragraph, "pStyle"), None) if headings else None
        level = 0 if style is None else headings.get(_attribute(style, "val"), 0)
    return "#" * min(level, 6) + " " if level else ""


def _join(blocks: Iterable[str]) -> str:
    return "\n\n".join(filter(None, (block.strip() for block in blocks)))


def _name(element: Element) -> str:
    """Return the name of an element without its namespace, which differs between editions of a format."""
    return element.tag.rpartition("}")[2]


def _attribute(element: Element, name: str) -> str:
    """Return an attribute by its name without namespace; "" if it is missing."""
    return next((value for key, value in element.items() if key.rpartition("}")[2] == name), "")


def _all(root: Element, name: str) -> Iterator[Element]:
    """Yield the elements of a name, and those below them, in order."""
    return (each for each in root.iter() if _name(each) == name)


_OFFICE_READERS: Mapping[str, Callable[[ZipPackage, str, Element], Iterator[Section]]] = {
    "document": _read_docx,
    "presentation": _read_pptx,
    "workbook": _read_xlsx,
}
"""The reader of each format of Office, by the root element of the main part."""
