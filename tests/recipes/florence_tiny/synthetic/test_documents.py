import numpy as np
import pypdfium2
from PIL import Image

from recipes.florence_tiny.synthetic.documents import Page, PosterLine, draw_poster, write_pdf

RED = Image.new("RGB", (64, 48), (200, 30, 30))
BLUE = Image.new("RGB", (64, 48), (30, 30, 200))


def test_the_pdf_has_text_and_an_image_on_each_page(tmp_path):
    pages = [Page("First (one)", ("a \\ b", "second line"), RED), Page("Second", ("caf\u00e9 & \u20ac 3",), BLUE)]
    write_pdf(tmp_path / "a.pdf", pages)
    document = pypdfium2.PdfDocument(tmp_path / "a.pdf")
    texts = [page.get_textpage().get_text_range().splitlines() for page in document]
    assert texts == [["First (one)", "a \\ b", "second line"], ["Second", "caf\u00e9 & \u20ac 3"]]
    for page, color in zip(document, [(200, 30, 30), (30, 30, 200)], strict=True):
        pixels = page.render(scale=0.5).to_numpy()[..., :3][..., ::-1].astype(int)
        share = (np.abs(pixels - color).max(-1) < 12).mean()
        assert share > 0.3
    document.close()


def test_equal_pages_give_equal_files(tmp_path):
    for name in ("a.pdf", "b.pdf"):
        write_pdf(tmp_path / name, [Page("Title", ("text",), RED)])
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_the_poster_is_as_wide_as_its_image_and_has_the_lines():
    poster = draw_poster(
        [PosterLine("FAIR", 40), PosterLine("Saturday", 30)], Image.new("RGB", (320, 240), (0, 200, 0))
    )
    assert poster.width == 320 and poster.height > 240 + 70
    head = np.asarray(poster.crop((0, 0, 320, poster.height - 240)))
    rows = np.flatnonzero((head.max(-1) < 120).any(1))
    assert len(rows) > 30 and np.diff(rows).max() > 10, "two lines of dark letters with space between"
    assert poster.getpixel((160, poster.height - 1)) == (0, 200, 0)
