import numpy as np
import pytest

from florence_rag.context import LazyValue, Models
from florence_rag.errors import ModelError
from florence_rag.ingest.embed_stage import EmbedStage, add_captions, embed_chunk_texts, embed_chunks
from florence_rag.ingest.progress import StageTimer
from florence_rag.testing import ColorEmbedder, ScriptedCaptioner
from florence_rag.types import Chunk, Failure
from tests.ingest.samples import color_chunk, source

EMBEDDER = ColorEmbedder()
CAPTIONS = {"red": "a red thing", "blue": "a blue thing", "green": "a green thing"}


def test_a_clip_is_the_mean_direction_of_its_keyframes():
    clip, image, passage = (
        color_chunk(source("a"), "red", "blue", kind="clip"),
        color_chunk(source("b"), "green"),
        Chunk(source("c"), "text", text="black and white"),
    )
    vectors = embed_chunks(EMBEDDER, [clip, image, passage])
    expected = EMBEDDER.embed_texts(["red blue", "green", "black white"])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_a_page_is_embedded_by_its_image_and_not_by_its_text():
    page = color_chunk(source("a"), "red", kind="page", text="blue")
    np.testing.assert_allclose(embed_chunks(EMBEDDER, [page]), EMBEDDER.embed_texts(["red"]))


def test_the_caption_text_and_ocr_text_of_a_chunk_have_a_vector_of_their_own():
    chunks = [
        color_chunk(source("a"), "red", caption="a blue thing", ocr="GREEN"),
        color_chunk(source("b"), "red", text=" \n"),
        Chunk(source("c"), "text", text="black"),
    ]
    vectors = embed_chunk_texts(EMBEDDER, chunks)
    np.testing.assert_allclose(vectors[[0, 2]], EMBEDDER.embed_texts(["blue green", "black"]), atol=1e-6)
    assert not vectors[1].any()
    assert embed_chunk_texts(EMBEDDER, chunks[1:2]).shape == (1, EMBEDDER.info.dimension)


def test_captions_are_made_for_chunks_with_frames_and_without_a_caption():
    captioner = ScriptedCaptioner(CAPTIONS)
    clip = color_chunk(source("a"), "red", "blue", "green", kind="clip", text="spoken")
    captioned = color_chunk(source("b"), "red", caption="an apple")
    passage = Chunk(source("c"), "text", text="words")
    with_caption, *others = add_captions(captioner, [clip, captioned, passage])
    assert (with_caption.caption, with_caption.text, with_caption.id) == ("a blue thing", "spoken", clip.id)
    assert others == [captioned, passage]
    assert captioner.batches == [1]
    assert add_captions(captioner, [passage]) == [passage] and captioner.batches == [1]


def test_a_model_that_cannot_be_loaded_fails_before_the_first_batch():
    def missing():
        raise ModelError("no such model")

    with pytest.raises(ModelError, match="no such model"):
        EmbedStage.from_models(Models(EMBEDDER, captioner=LazyValue(missing)))


def test_each_describing_model_has_a_stage_of_its_own():
    model = LazyValue(object)
    models = Models(EMBEDDER, captioner=model, detector=model, action_recognizer=model)
    steps = EmbedStage.from_models(models, index_regions=True).steps
    assert [name for name, _ in steps] == ["caption", "detect", "actions"]


def test_a_step_that_fails_for_a_source_leaves_the_others_in_the_batch():
    def refuse_blue(chunks):
        if any(chunk.source.uri == "/b" for chunk in chunks):
            raise ValueError("too\nblue")
        return chunks

    stage = EmbedStage(lambda chunks: chunks, [("caption", refuse_blue)])
    parts, failures = stage([color_chunk(source(name), "red") for name in "abc"], StageTimer())
    assert [chunk.source.uri for part in parts for chunk in part] == ["/a", "/c"]
    assert failures == [Failure("/b", "could not be described: ValueError: too blue")]
