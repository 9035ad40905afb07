"""Reads the words of a PDF page that are not in its content: values of form fields, comments, notes and stamps."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pypdfium2 as pdfium
from pypdfium2 import raw

from florence_rag.chunking.text import html_to_text

_HIDDEN_FLAGS = raw.FPDF_ANNOT_FLAG_HIDDEN | raw.FPDF_ANNOT_FLAG_NOVIEW
_PASSWORD_FLAG = 1 << 13
_MAX_ANNOTATIONS = 10_000
_NOT_WORDS = (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP)  # a popup repeats its parent
_CHECKED_TYPES = (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON)
_CHOICE_TYPES = (raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX)


def read_annotations(document: pdfium.PdfDocument, page: pdfium.PdfPage) -> tuple[list[str], int]:
    """Return the words of each visible annotation of a page once, and the number of files that are attached to it.

    What is drawn of the words is hidden. What is still drawn, such as a signature or the image of a stamp, becomes part
    of the page when it is opened again.
    """
    found: dict[str, None] = {}
    attached = 0
    for index in range(min(raw.FPDFPage_GetAnnotCount(page), _MAX_ANNOTATIONS)):
        with _annotation(page, index) as annotation:
            subtype = raw.FPDFAnnot_GetSubtype(annotation)
            attached += subtype == raw.FPDF_ANNOT_FILEATTACHMENT
            flags = raw.FPDFAnnot_GetFlags(annotation)
            if flags & _HIDDEN_FLAGS:
                continue
            is_field = subtype == raw.FPDF_ANNOT_WIDGET
            is_secret = is_field and raw.FPDFAnnot_GetFormFieldFlags(document.formenv, annotation) & _PASSWORD_FLAG
            parts = _field_words(document.formenv, annotation) if is_field else _comment(annotation, subtype)
            words = dict.fromkeys(() if is_secret else filter(None, parts))
            if is_secret or (words and subtype != raw.FPDF_ANNOT_STAMP):
                raw.FPDFAnnot_SetFlags(annotation, flags | raw.FPDF_ANNOT_FLAG_HIDDEN)
            found |= words
    raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY)
    return list(found), attached


@contextmanager
def _annotation(page: pdfium.PdfPage, index: int) -> Iterator[Any]:
    annotation = raw.FPDFPage_GetAnnot(page, index)
    try:
        yield annotation
    finally:
        raw.FPDFPage_CloseAnnot(annotation)


def _comment(annotation: Any, subtype: int) -> Iterator[str]:
    """Yield the contents of an annotation, and the name of a stamp, such as "Approved"."""
    if subtype in _NOT_WORDS:
        return
    contents = _string(raw.FPDFAnnot_GetStringValue, annotation, b"Contents")
    yield contents or html_to_text(_string(raw.FPDFAnnot_GetStringValue, annotation, b"RC"))[1]  # rich text
    if subtype == raw.FPDF_ANNOT_STAMP:
        yield _string(raw.FPDFAnnot_GetStringValue, annotation, b"Name")


def _field_words(form: Any, annotation: Any) -> Iterator[str]:
    """Yield the value of a field; of a checked box its name and value, of a list the labels of what is selected."""
    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    if kind in _CHECKED_TYPES:
        if raw.FPDFAnnot_IsChecked(form, annotation):
            yield f"{_field_name(form, annotation)}: {_string(raw.FPDFAnnot_GetFormFieldExportValue, form, annotation)}"
    else:
        if kind in _CHOICE_TYPES:
            for index in range(raw.FPDFAnnot_GetOptionCount(form, annotation)):
                if raw.FPDFAnnot_IsOptionSelected(form, annotation, index):
                    yield _string(raw.FPDFAnnot_GetOptionLabel, form, annotation, index)
        yield _field_value(form, annotation)


def _field_value(form: Any, annotation: Any) -> str:
    """Return the value of a field, which may be missing in the form of the document."""
    value = _string(raw.FPDFAnnot_GetFormFieldValue, form, annotation)
    return value or _string(raw.FPDFAnnot_GetStringValue, annotation, b"V")


def _field_name(form: Any, annotation: Any) -> str:
    """Return the name of a field for people, or else the one for programs."""
    return _string(raw.FPDFAnnot_GetFormFieldAlternateName, form, annotation) or _string(
        raw.FPDFAnnot_GetFormFieldName, form, annotation
    )


def _string(function: Callable[..., int], *args: Any) -> str:
    """Call a function of PDFium that writes UTF-16 into a buffer, and return the text."""
    size = function(*args, None, 0)
    buffer = ctypes.create_string_buffer(size + 2)
    function(*args, ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), size)
    return buffer.raw[:size].decode("utf-16-le", "replace").rstrip("\0")
