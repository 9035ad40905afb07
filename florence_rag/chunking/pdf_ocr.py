"""Finds the parts of a PDF page that show words which its text layer lacks: scans, figures, stamps, outlined text.

A page is rendered with and without its readable text. What is still drawn, and has edges like writing, is for OCR.
Text that changes nothing is invisible, as in a searchable scan: it stands for the writing at its place.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing
from ctypes import addressof
from itertools import islice

import numpy as np
import pypdfium2 as pdfium
from PIL import Image, ImageFilter
from pypdfium2 import raw

from florence_rag.types import Box

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

_SIDE_PX, _CELL_PX = 1024, 8
_CONTRAST = 24
"""Neighboring pixels of writing differ by more, of 255; those of gradients and of noise in JPEGs by less."""
_RULE_PX = 96
"""A straight edge of this length belongs to a table or a frame, and not to a letter."""
_GAP_CELLS = 3
_FEW_LETTERS = 300
_SMALL, _TINY = 0.025, 0.002
"""The share of the page that a figure must have to be read: on a page of text, so that logos cost nothing, and on a
page with few letters."""
_WORD_CELLS = 8
_MAX_BOXES = 8
_MAX_OBJECTS = 20_000
"""Pages of more objects are maps and drawings, which take seconds to render."""
_REPLACEMENTS = frozenset("\ufffd?\u25a0\u25a1\u2610")
"""The characters that programs write for letters which they do not know."""


def boxes_to_read(page: pdfium.PdfPage, textpage: pdfium.PdfTextPage) -> tuple[Box, ...]:
    """Return the boxes of a page that OCR must read, in [0, 1] of its image; hide the readable text of the page."""
    try:
        return _find_boxes(page, textpage)
    except pdfium.PdfiumError:  # a damaged object
        return (WHOLE,)


def is_readable(text: str) -> bool:
    """Return whether most characters other than spaces are characters that people write, not those of a broken font."""
    characters = [char for char in text if not char.isspace()]
    broken = sum(char in _REPLACEMENTS or unicodedata.category(char)[0] == "C" for char in characters)
    return 2 * broken <= len(characters)


def _find_boxes(page: pdfium.PdfPage, textpage: pdfium.PdfTextPage) -> tuple[Box, ...]:
    found = (each for each in page.get_objects(textpage=textpage) if each.type != raw.FPDF_PAGEOBJ_FORM)
    objects = list(islice(found, _MAX_OBJECTS))
    if len(objects) == _MAX_OBJECTS:
        return (WHOLE,)
    readable = _readable_texts(objects, textpage)
    if len(readable) == len(objects):
        return ()
    shown, to_pixels = _render(page)
    for each in readable:
        raw.FPDFTextObj_SetTextRenderMode(each, raw.FPDF_TEXTRENDERMODE_INVISIBLE)
    rest, _ = _render(page)
    written = _written_cells(rest)
    if written.sum() < _WORD_CELLS:
        return ()
    invisible, letters = _invisible_letters(textpage, to_pixels, shown != rest)
    covered = _dilated(_fill(invisible, rest.shape))
    written &= ~covered
    if 2 * written.sum() > (_written_cells(shown) | covered).sum():
        return (WHOLE,)
    images = [_bounds_on_page(each) for each in objects if each.type == raw.FPDF_PAGEOBJ_IMAGE]
    image_cells = _fill(_to_pixels(images, to_pixels, rest.shape), rest.shape)
    boxes = tuple(_boxes(written, image_cells, _TINY if letters < _FEW_LETTERS else _SMALL))
    return boxes if len(boxes) <= _MAX_BOXES else (WHOLE,)


def _readable_texts(objects: Sequence[pdfium.PdfObject], textpage: pdfium.PdfTextPage) -> list[pdfium.PdfTextObj]:
    """Return the text objects whose fonts say which letters they show."""
    errors = (i for i in range(textpage.count_chars()) if raw.FPDFText_HasUnicodeMapError(textpage, i) == 1)
    broken = {addressof(raw.FPDFText_GetTextObject(textpage, i).contents) for i in errors}
    texts = (each for each in objects if isinstance(each, pdfium.PdfTextObj))
    return [each for each in texts if addressof(each.raw.contents) not in broken and is_readable(each.extract())]


def _render(page: pdfium.PdfPage) -> tuple[np.ndarray, np.ndarray]:
    """Return a page in gray, (H, W) uint8, without annotations, and the (3, 2) matrix from (x, y, 1) to pixels."""
    unit = max(page.get_size())
    with closing(page.render(scale=_SIDE_PX / unit, grayscale=True, draw_annots=False, may_draw_forms=False)) as bitmap:
        to_bitmap = bitmap.get_posconv(page).to_bitmap
        origin, right, up = (np.array(to_bitmap(x, y)) for x, y in ((0, 0), (unit, 0), (0, unit)))
        return np.array(bitmap.to_numpy()).squeeze(), np.array(((right - origin) / unit, (up - origin) / unit, origin))


def _to_pixels(boxes: Sequence[Sequence[float]], to_pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return boxes (left, bottom, right, top) of the page as (N, 4) pixels: left, top, right, bottom."""
    left, bottom, right, top = np.array(boxes).reshape(-1, 4).T
    corners = np.stack([(left, bottom), (right, top), (left, top), (right, bottom)])  # (4, 2, N)
    places = np.einsum("cpn,pq->ncq", corners, to_pixels[:2]) + to_pixels[2]  # (N, 4, 2)
    edges = np.hstack((np.floor(places.min(axis=1)), np.ceil(places.max(axis=1))))
    return edges.clip(0, (shape[1], shape[0]) * 2).astype(int)


def _invisible_letters(
    textpage: pdfium.PdfTextPage, to_pixels: np.ndarray, visible: np.ndarray
) -> tuple[np.ndarray, int]:
    """Return the boxes, (N, 4) pixels, of the letters that are not visible, and the number of all letters."""
    letters = [
        textpage.get_charbox(i, loose=True)
        for i in range(textpage.count_chars())
        if chr(raw.FPDFText_GetUnicode(textpage, i)).isalnum() and raw.FPDFText_HasUnicodeMapError(textpage, i) != 1
    ]
    boxes = _to_pixels(letters, to_pixels, visible.shape)
    sums = np.pad(visible.cumsum(axis=0, dtype=np.int32).cumsum(axis=1), ((1, 0), (1, 0)))
    left, top, right, bottom = boxes.T
    pixels = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return boxes[pixels == 0], len(letters)


def _fill(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the cells that boxes of pixels touch."""
    mask = np.zeros(shape, bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return _shares(mask) > 0


def _written_cells(pixels: np.ndarray) -> np.ndarray:
    """Return the cells with edges in both directions, as letters and photographs have, but not lines and areas."""
    found = []
    for axis in (0, 1):
        across = np.abs(np.diff(pixels.astype(np.int16), axis=axis, prepend=pixels.take([0], axis))) > _CONTRAST
        found.append(_shares(across & ~_long_runs(across, 1 - axis)) > 1 / _CELL_PX**2)
    return found[0] & found[1]


def _long_runs(edges: np.ndarray, axis: int) -> np.ndarray:
    """Return the pixels of unbroken runs of at least _RULE_PX along an axis."""
    padded = np.pad(edges.swapaxes(axis, 1), ((0, 0), (_RULE_PX - 1, _RULE_PX - 1)))
    runs: np.ndarray = _window_sums(_window_sums(padded) == _RULE_PX) > 0
    return runs.swapaxes(axis, 1)


def _window_sums(mask: np.ndarray) -> np.ndarray:
    totals = np.pad(mask.cumsum(axis=1, dtype=np.int32), ((0, 0), (1, 0)))
    sums: np.ndarray = totals[:, _RULE_PX:] - totals[:, :-_RULE_PX]
    return sums


def _bounds_on_page(each: pdfium.PdfObject) -> tuple[float, float, float, float]:
    """Return the bounds of an object, which PDFium states in the coordinates of the form object that contains it."""
    left, bottom, right, top = each.get_bounds()
    while each.container:
        each = each.container
        corners = ((left, bottom), (right, top), (left, top), (right, bottom))
        x, y = zip(*(each.get_matrix().on_point(*corner) for corner in corners), strict=True)
        left, bottom, right, top = min(x), min(y), max(x), max(y)
    return left, bottom, right, top


def _shares(mask: np.ndarray) -> np.ndarray:
    """Return the share of true pixels in each cell."""
    return np.asarray(Image.fromarray(mask.astype(np.float32)).reduce(_CELL_PX))


def _dilated(cells: np.ndarray) -> np.ndarray:
    """Return the cells and their neighbors, between which the text of a searchable scan may be misplaced."""
    return np.asarray(Image.fromarray(cells.astype(np.uint8)).filter(ImageFilter.MaxFilter(5))) > 0


def _boxes(written: np.ndarray, images: np.ndarray, smallest: float) -> Iterator[Box]:
    """Yield the boxes of writing in each region of the page that is large enough."""
    rows, columns = written.shape
    for top, bottom, left, right in _regions(written | images, 0, 0):
        inside = written[top:bottom, left:right]
        if inside.size >= smallest * written.size and inside.sum() >= _WORD_CELLS:
            y, x = np.nonzero(inside)
            edges = left + x.min() - 1, top + y.min() - 1, left + x.max() + 2, top + y.max() + 2
            shares = np.array(edges).clip(0) / (columns, rows, columns, rows)
            yield tuple(round(float(share), 4) for share in shares.clip(0, 1))  # type: ignore[misc]


def _regions(cells: np.ndarray, top: int, left: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut cells at empty rows and columns, and yield (top, bottom, left, right) of each region."""
    for axis in (1, 0):
        filled = np.flatnonzero(cells.any(axis=axis))
        parts = [part for part in np.split(filled, np.flatnonzero(np.diff(filled) > _GAP_CELLS) + 1) if part.size]
        if [part[-1] - part[0] + 1 for part in parts] != [cells.shape[1 - axis]]:
            for part in parts:
                inside = slice(part[0], part[-1] + 1)
                if axis == 1:
                    yield from _regions(cells[inside], top + part[0], left)
                else:
                    yield from _regions(cells[:, inside], top, left + part[0])
            return
    yield top, top + cells.shape[0], left, left + cells.shape[1]
