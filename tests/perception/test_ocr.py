import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from florence_rag.chunking import read_image
from florence_rag.errors import InputError
from florence_rag.perception.base import OCRReader, TextRegion
from florence_rag.perception.ocr import RapidOcrReader

PHOTOS = Path(__file__).parents[2].parent / "shared" / "media" / "photos"


def sign(*lines: tuple[str, int, int], size: tuple[int, int] = (640, 320), height_px: int = 44) -> np.ndarray:
    """Return an image of a white board with lines of text at (left, top)."""
    image = Image.new("RGB", size, (245, 245, 240))
    draw = ImageDraw.Draw(image)
    for text, left, top in lines:
        draw.text((left, top), text, fill=(10, 20, 60), font=ImageFont.load_default(height_px))
    return np.asarray(image)


def text_of(reader, frame):
    return "\n".join(region.text for region in reader.read(frame))


@pytest.fixture(scope="module")
def reader() -> RapidOcrReader:
    return RapidOcrReader()


def test_it_implements_the_protocol(reader):
    assert isinstance(reader, OCRReader)


def test_lines_of_text_have_their_boxes(reader):
    (region,) = reader.read(sign(("HARBOUR STREET 25", 100, 200)))
    assert region.text == "HARBOUR STREET 25" and 0.9 < region.confidence <= 1
    left, top, right, bottom = region.box
    assert 0.13 < left < 0.18 and 0.6 < top < 0.68 and 0.7 < right < 0.9 and 0.7 < bottom < 0.85


def test_lines_come_in_reading_order(reader):
    frame = sign(("Left", 40, 40), ("Right", 400, 46), ("Middle", 200, 140), ("Last", 40, 240))
    assert text_of(reader, frame) == "Left\nRight\nMiddle\nLast"


@pytest.mark.parametrize("color", [0, 128, 255])
def test_an_image_without_text_has_no_lines(reader, color):
    assert reader.read(np.full((240, 320, 3), color, np.uint8)) == []
    assert text_of(reader, np.full((240, 320, 3), color, np.uint8)) == ""


@pytest.mark.parametrize("shape", [(4, 4), (4, 1280), (1280, 4), (31, 33), (2000, 40)])
def test_images_of_odd_sizes_are_read(reader, shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert all(isinstance(region, TextRegion) for region in reader.read(noise))


def test_large_images_are_scaled_down_first(reader):
    frame = sign(("GRAND HOTEL", 300, 700), size=(4000, 2000), height_px=300)
    before = frame.copy()
    (region,) = reader.read(frame)
    assert region.text.replace(" ", "") == "GRANDHOTEL" and 0.3 < region.box[1] < 0.5
    assert np.array_equal(frame, before)


def test_lines_of_low_confidence_are_dropped():
    frame = sign(("HARBOUR", 100, 100))
    assert RapidOcrReader(min_confidence=0.5).read(frame)
    (region,) = RapidOcrReader(min_confidence=0.0).read(frame)
    assert region.confidence < 1.0
    assert RapidOcrReader(min_confidence=1.0).read(frame) == []


def test_full_width_characters_become_ordinary_ones(reader, monkeypatch):
    monkeypatch.setattr("rapidocr.ch_ppocr_rec.main.TextRecognizer.__call__", answer("ＡＢＣ１２　！"))
    assert text_of(reader, sign(("ABC", 100, 100))) == "ABC12 !"


def test_lines_without_letters_or_digits_are_dropped(reader, monkeypatch):
    monkeypatch.setattr("rapidocr.ch_ppocr_rec.main.TextRecognizer.__call__", answer("--. *"))
    assert reader.read(sign(("ABC", 100, 100))) == []


def answer(text: str):
    """Return a recognizer that reads this text in every line."""
    from rapidocr.ch_ppocr_rec import TextRecOutput

    def recognize(self, lines) -> TextRecOutput:
        count = len(lines.img)
        return TextRecOutput(lines.img, (text,) * count, (0.99,) * count, ((),) * count, 0.0)

    return recognize


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"min_confidence": 1.5}, {"max_side_px": 10}, {"detect_side_px": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match="give at least 1"):
        RapidOcrReader(**wrong)


def test_one_reader_serves_several_threads(reader):
    frames = [sign((f"NUMBER {i}{i}{i}", 60 + 20 * i, 40 + 30 * i), size=(500 + 40 * i, 300)) for i in range(4)]
    alone = [reader.read(frame) for frame in frames]
    together: dict[int, list[list[TextRegion]]] = {}

    def work(number: int) -> None:
        together[number] = [reader.read(frame) for frame in frames]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert together == {i: alone for i in range(3)}


def test_nothing_is_printed():
    code = (
        "import numpy as np\n"
        "from florence_rag.perception.ocr import RapidOcrReader\n"
        "print(RapidOcrReader().read(np.zeros((64, 64, 3), np.uint8)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.skipif(not PHOTOS.exists(), reason="the shared photographs are not here; drawn signs cover the same")
@pytest.mark.parametrize(
    ("photo", "words"),
    [
        ("000000000885.jpg", {"J.P.Morgan", "POLO"}),
        ("solar-farm.jpg", {"03-17", "03-11"}),
        ("000000000009.jpg", set()),
    ],
)
def test_the_shared_photographs_are_read(reader, photo, words):
    assert {region.text for region in reader.read(read_image(PHOTOS / photo))} == words
