import mteb
import numpy as np
import pytest
import torch
from mteb.mocks.mock_tasks.classification import MockImageClassificationTask
from mteb.mocks.mock_tasks.pair_classification import MockImageTextPairClassificationTask
from mteb.mocks.mock_tasks.retrieval import MockAny2AnyRetrievalI2TTask, MockAny2AnyRetrievalT2ITask
from mteb.mocks.mock_tasks.zeroshot_classification import MockZeroShotClassificationTask
from mteb.models.models_protocols import EncoderProtocol
from mteb.types import PromptType
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.evaluation.mteb_encoder import MtebEncoder
from florence_rag.testing import ColorEmbedder, color_frame

TASKS = [
    MockAny2AnyRetrievalI2TTask,
    MockAny2AnyRetrievalT2ITask,
    MockImageClassificationTask,
    MockImageTextPairClassificationTask,
    MockZeroShotClassificationTask,
]
SPLIT = {"task_metadata": None, "hf_split": "test", "hf_subset": "default"}


def image(*colors):
    return Image.fromarray(color_frame(*colors))


def test_it_is_an_encoder_of_mteb_and_names_the_model():
    encoder = MtebEncoder(ColorEmbedder())
    assert isinstance(encoder, EncoderProtocol)
    meta, info = encoder.mteb_model_meta, ColorEmbedder().info
    assert meta.name == f"florence_rag/{info.name}" and meta.embed_dim == info.dimension
    assert set(meta.modalities) == {"image", "text"} and info.fingerprint.startswith(meta.revision)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
@pytest.mark.filterwarnings("ignore")  # mteb and datasets warn of their own code
def test_tasks_of_mteb_run(task):
    result = mteb.evaluate(MtebEncoder(ColorEmbedder()), task(), cache=None, show_progress_bar=False)
    (scores,) = result.task_results
    assert np.isfinite(scores.get_score())


def test_vectors_are_the_embedders_in_order():
    embedder = ColorEmbedder()
    batches = [{"image": [image("red"), image("blue")]}, {"image": [image("green")]}]
    vectors = MtebEncoder(embedder).encode(batches, **SPLIT, batch_size=2)
    expected = embedder.embed_images([color_frame(color) for color in ("red", "blue", "green")])
    assert vectors == pytest.approx(expected) and vectors.dtype == np.float32
    texts = MtebEncoder(embedder).encode([{"text": ["red", "blue"], "id": ["a", "b"]}], **SPLIT)
    assert texts == pytest.approx(embedder.embed_texts(["red", "blue"]))


def test_an_item_with_image_and_text_has_their_mean_direction():
    encoder = MtebEncoder(ColorEmbedder())
    (both,) = encoder.encode([{"image": [image("red")], "text": ["blue"]}], **SPLIT)
    red, blue = ColorEmbedder().embed_texts(["red", "blue"])
    assert both @ red == pytest.approx(both @ blue) and np.linalg.norm(both) == pytest.approx(1)


def test_queries_are_embedded_as_queries_by_models_that_distinguish_them():
    class PrefixingEmbedder(ColorEmbedder):
        def embed_queries(self, texts):
            return self.embed_texts(["blue"] * len(texts))

    encoder, blue = MtebEncoder(PrefixingEmbedder()), ColorEmbedder().embed_texts(["blue"])
    assert encoder.encode([{"text": ["red"]}], **SPLIT, prompt_type=PromptType.query) == pytest.approx(blue)
    assert encoder.encode([{"text": ["red"]}], **SPLIT, prompt_type=PromptType.document) @ blue[0] == pytest.approx(0)


def test_similarities_are_cosines():
    encoder = MtebEncoder(ColorEmbedder())
    one, two = np.array([[2.0, 0], [0, 3]]), torch.tensor([[1.0, 1], [0, 1]])
    assert encoder.similarity(one, two).numpy() == pytest.approx(np.array([[0.5**0.5, 0], [0.5**0.5, 1]]))
    assert encoder.similarity_pairwise(one, two).numpy() == pytest.approx(np.array([0.5**0.5, 1]))
    assert encoder.similarity(one[0], two[0]).shape == (1, 1)


def test_no_items_give_no_vectors_and_audio_is_refused():
    encoder = MtebEncoder(ColorEmbedder())
    assert encoder.encode([], **SPLIT).shape == (0, ColorEmbedder().info.dimension)
    with pytest.raises(InputError, match="a batch of mteb has 'audio'; it must have"):
        encoder.encode([{"audio": [1]}], **SPLIT)
