import pytest

from florence_rag.chunking.config import MAX_TEXT_BYTES, ChunkingConfig, fit_text
from florence_rag.errors import InputError


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_side_px": 0},
        {"keyframe_side_px": 31},
        {"clip_min_s": 0},
        {"clip_min_s": 5, "clip_max_s": 5},
        {"clip_min_s": 0.1, "clip_max_s": 0.5},
        {"keyframes": 0},
        {"passage_words": 0},
        {"passage_words": 251},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        ChunkingConfig(**wrong)


def test_text_is_cut_between_characters():
    assert fit_text("äöü", 5) == "äö"
    assert fit_text("äöü", 6) == "äöü"
    assert len(fit_text("語" * 50_000).encode()) == MAX_TEXT_BYTES
