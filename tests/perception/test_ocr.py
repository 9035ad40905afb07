import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from florence_rag.chunking import read_image
from florence_rag.errors import InputError
from florence_rag.perception.base import OCRReader, TextRegion
from florence_rag.perception.ocr import RapidOcrReader
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.scene import sample_scene

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


def answer(text: str, confidence: float = 0.99):
    """Return a recognizer that reads this text in every line."""
    from rapidocr.ch_ppocr_rec import TextRecOutput

    def recognize(self, lines) -> TextRecOutput:
        count = len(lines.img)
        return TextRecOutput(lines.img, (text,) * count, (confidence,) * count, ((),) * count, 0.0)

    return recognize


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"min_confidence": 1.5}, {"max_side_px": 10}, {"detect_side_px": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match="give at least 1"):
        RapidOcrReader(**wrong)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_long_screenshot_is_read_to_its_end(reader):
    rows = [(f"message {number} of a talk", 60, 40 + 300 * number) for number in range(12)]
    frame = sign(*rows, size=(1080, 3700), height_px=42)
    assert text_of(reader, frame).splitlines() == [text for text, _, _ in rows]


@pytest.mark.slow
def test_small_print_of_a_large_scan_is_read(reader):
    rows = [(f"article {number} of the statutes", 1800, 300 + 400 * number) for number in range(8)]
    frame = sign(*rows, size=(4400, 3600), height_px=34)
    assert text_of(reader, frame).splitlines() == [text for text, _, _ in rows]


@pytest.mark.parametrize(
    ("text", "confidence", "kept"),
    [
        *[("A", 0.75, False), ("WH", 0.88, False), ("西", 0.8, False), ("III", 0.64, False), ("WOTA", 0.79, False)],
        *[("HTHYW", 0.65, False), ("7", 0.97, True), ("Ja", 0.95, True), ("出", 0.98, True), ("€5", 0.95, True)],
        *[("STOP", 0.87, True), ("12.99", 0.9, True), ("HOTEL", 0.72, True), ("SEBASTIAN", 0.62, True)],
        *[("GRAND HOTEL", 0.5, False), ("4 - 5", 0.85, False)],
    ],
)
def test_the_shorter_a_line_the_more_confidence_it_needs(reader, monkeypatch, text, confidence, kept):
    monkeypatch.setattr("rapidocr.ch_ppocr_rec.main.TextRecognizer.__call__", answer(text, confidence))
    assert [region.text for region in reader.read(sign(("ABC", 100, 100), height_px=28))] == [text] * kept


@pytest.mark.slow
def test_drawn_streets_without_text_have_no_words(reader):
    random = Random(1)
    scenes = [np.asarray(draw_scene(sample_scene(random), (640, 480)).convert("RGB")) for _ in range(16)]
    assert [region.text for scene in scenes for region in reader.read(scene)] == []


@pytest.mark.parametrize("text", ["7", "Ja", "STOP", "OK", "221B", "12.99", "No 5"])
@pytest.mark.parametrize("height_px", [20, 44])
def test_real_short_texts_are_read(reader, text, height_px):
    assert text_of(reader, sign((text, 200, 120), height_px=height_px)) == text


@pytest.mark.parametrize("text", ["8", "88"])
@pytest.mark.parametrize(("height_px", "kept"), [(28, True), (90, False)])
def test_a_single_large_letter_may_be_a_shape(reader, monkeypatch, text, height_px, kept):
    frame = sign(("88", 200, 120), height_px=height_px)
    assert reader.read(frame)  # real digits are read with full confidence
    monkeypatch.setattr("rapidocr.ch_ppocr_rec.main.TextRecognizer.__call__", answer(text, 0.997))
    assert [region.text for region in reader.read(frame)] == [text] * kept
