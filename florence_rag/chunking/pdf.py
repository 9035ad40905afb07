"""Cuts PDF documents into pages: each page is an image and the text of its text layer."""

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from threading import RLock
from typing import Any

import numpy as np
import pypdfium2 as pdfium
from pypdfium2 import raw

from florence_rag.chunking.config import ChunkingConfig, fit_text
from florence_rag.chunking.formats import encrypted_error, format_error
from florence_rag.chunking.pdf_annotations import read_annotations
from florence_rag.chunking.pdf_ocr import boxes_to_read, is_readable
from florence_rag.errors import MediaError
from florence_rag.sources.io import open_uri
from florence_rag.telemetry import get_logger
from florence_rag.types import Box, Chunk, Frame, Locator, Skipped, Source
from florence_rag.workers import require_memory

ATTACHMENT = "attachment"
REST_OF_TEXT = "rest of the text of a long page"
_HEAD_BYTES = 65_536
_IMAGE_DEPTH, _IMAGE_BYTES = 3, 8
"""In how many forms an image is looked for, and the memory that PDFium needs for one pixel."""
_log = get_logger(__name__)
_PDFIUM = RLock()  # PDFium is not thread-safe, not even for two documents
_HYPHEN = re.compile("[\x02\ufffe\xad]\n?")  # the characters by which PDFium marks a hyphenated word
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, eq=False)
class _Page:
    frame: Frame
    text: str
    is_cut: bool
    ocr_boxes: tuple[Box, ...]
    attachments: int


def chunk_source(source: Source, config: ChunkingConfig) -> Iterator[Chunk | Skipped]:
    """Yield one chunk per page, and a record for each damaged page if others can be read, and for each attachment."""
    any_page = False
    with _open_pdf(source.uri) as document:
        with _PDFIUM:
            pages, title = len(document), " ".join(_clean(document.get_metadata_value("Title")).split())
            skipped = [Skipped(source.uri, reason) for reason in _unread_parts(document)]
        metadata = {"pages": pages, **({"title": title} if title else {})}
        for number in range(1, pages + 1):
            place = Locator(page=number)
            try:
                page = _read_page(document, number, config)
            except (pdfium.PdfiumError, ValueError) as error:
                _log.info("page %d of %r cannot be read: %s", number, source.uri, error)
                skipped.append(Skipped(source.uri, "damaged page", place))
                continue
            any_page = True
            skipped += [Skipped(source.uri, ATTACHMENT, place)] * page.attachments
            if page.is_cut:
                skipped.append(Skipped(source.uri, REST_OF_TEXT, place))
            yield Chunk(
                source, "page", place, page.text, frames=(page.frame,), metadata=metadata, ocr_boxes=page.ocr_boxes
            )
    if not any_page:
        raise MediaError(f"{source.uri!r} has no page that can be read")
    yield from skipped


def read_frames(uri: str, locator: Locator, metadata: Mapping[str, Any], config: ChunkingConfig) -> tuple[Frame, ...]:
    """Render the page of a chunk again."""
    number = locator.page or 1
    with _open_pdf(uri) as document, _PDFIUM:
        if not 1 <= number <= len(document):
            raise MediaError(f"{uri!r} has {len(document)} pages, no page {number}")
        try:
            with closing(document[number - 1]) as page:
                return (_render(page, config.page_side_px),)
        except (pdfium.PdfiumError, ValueError) as error:
            raise MediaError(f"page {number} of {uri!r} cannot be read") from error


@contextmanager
def _open_pdf(path: str) -> Iterator[pdfium.PdfDocument]:
    with open_uri(path) as file:
        head = file.read(_HEAD_BYTES)
        start = max(0, head.find(b"%PDF-"))  # mail and scanners put headers of their own in front
        file.seek(0)
        with _PDFIUM:
            try:
                is_file = os.path.isabs(path) and start < 1024  # faster; PDFium skips 1024 bytes
                document = pdfium.PdfDocument(path if is_file else BytesIO(file.read()[start:]) if start else file)
                document.init_forms()  # else the contents of form fields are not drawn
            except pdfium.PdfiumError as error:
                if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
                    raise encrypted_error(path) from error
                raise format_error(repr(path), b"%PDF" if b"%PDF" in head else head, "a PDF") from error
        try:
            yield document
        finally:
            with _PDFIUM:
                document.close()


def _unread_parts(document: pdfium.PdfDocument) -> list[str]:
    """Return the reason for each part of a document that is not on its pages."""
    forms = ["XFA form (print it to a new PDF)"] if document.get_formtype() == raw.FORMTYPE_XFA_FULL else []
    return forms + [ATTACHMENT] * document.count_attachments()


def _read_page(document: pdfium.PdfDocument, number: int, config: ChunkingConfig) -> _Page:
    with _PDFIUM, closing(document[number - 1]) as page:
        _require_memory_of_images(page)
        frame = _render(page, config.page_side_px)
        notes, attachments = read_annotations(document, page)
    with _PDFIUM, closing(document[number - 1]) as page, closing(page.get_textpage()) as textpage:
        text = textpage.get_text_range()
        boxes = boxes_to_read(page, textpage) if config.find_ocr_boxes else ()
    text = _clean("\n".join((text if is_readable(text) else "", *notes)))
    fitting = fit_text(text)
    return _Page(frame, fitting, fitting != text, boxes, attachments)


def _require_memory_of_images(page: pdfium.PdfPage) -> None:
    """Raise a MemoryError if the memory does not suffice for an image of a page, which PDFium would not draw."""
    for image in page.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE,), max_depth=_IMAGE_DEPTH):
        with suppress(pdfium.PdfiumError):
            width, height = image.get_px_size()
            require_memory(width * height * _IMAGE_BYTES)


def _render(page: pdfium.PdfPage, max_side_px: int) -> Frame:
    longer, shorter = sorted(page.get_size(), reverse=True)
    if not shorter > longer / 100:
        raise ValueError(f"a page of {longer:.0f} x {shorter:.0f} points is too thin")
    with closing(page.render(scale=max_side_px / longer, rev_byteorder=True)) as bitmap:
        return np.array(bitmap.to_numpy()[:max_side_px, :max_side_px, :3])


def _clean(text: str) -> str:
    """Replace ligatures and full-width forms by plain letters, so that a typed query matches them."""
    text = _HYPHEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _CONTROL.sub(" ", unicodedata.normalize("NFKC", text)).strip()
