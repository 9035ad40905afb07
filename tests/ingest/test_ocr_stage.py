import pytest

from florence_rag.context import Models, loaded
from florence_rag.ingest.ocr_stage import OCRStage
from florence_rag.testing import ColorEmbedder, ScriptedReader
from florence_rag.types import Chunk
from tests.ingest.samples import color_chunk, source

IMAGE = color_chunk(source("a"), "red")
PAGE = color_chunk(source("b"), "red", kind="page", text="typed")
SCAN = color_chunk(source("c"), "red", kind="page", text=" \n")
CLIP = color_chunk(source("d"), "red", "blue", "red", kind="clip")
TEXT = Chunk(source("e"), "text", text="words")


def ocr_stage(mode, texts):
    return OCRStage(loaded(ScriptedReader(texts)), mode)


@pytest.mark.parametrize(("mode", "read"), [("auto", [IMAGE, SCAN]), ("always", [IMAGE, PAGE, SCAN, CLIP])])
def test_the_mode_decides_which_chunks_are_read(mode, read):
    stage = ocr_stage(mode, {"red": "STOP", "blue": "BUS"})
    for chunk in (IMAGE, PAGE, SCAN, CLIP, TEXT):
        assert bool(stage(chunk).ocr) == (chunk in read)


def test_a_line_on_several_keyframes_is_stored_once():
    assert ocr_stage("always", {"red": "STOP", "blue": "BUS"})(CLIP).ocr == "STOP\nBUS"


def test_nothing_but_the_ocr_text_changes():
    read = ocr_stage("always", {"red": "STOP"})(PAGE)
    assert (read.ocr, read.text, read.id, read.frames) == ("STOP", "typed", PAGE.id, PAGE.frames)


def test_there_is_no_stage_without_a_reader_or_with_the_mode_never():
    without, with_reader = Models.of(ColorEmbedder()), Models.of(ColorEmbedder(), ocr_reader=ScriptedReader({}))
    assert OCRStage.from_models(without, "always") is None
    assert OCRStage.from_models(with_reader, "never") is None
    assert OCRStage.from_models(with_reader, "auto") is not None
