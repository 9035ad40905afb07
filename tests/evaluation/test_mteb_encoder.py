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
PLACE = {"task_metadata": None, "hf_split": "test", "hf_subset": "default"}


def picture(*colors):
    return Image.fromarray(color_frame(*colors))


def test_it_is_what_mteb_takes_and_names_the_model():
    encoder = MtebEncoder(ColorEmbedder())
    assert isinstance(encoder, EncoderProtocol)
    meta, info = encoder.mteb_model_meta, ColorEmbedder().info
    assert meta.name == f"florence_rag/{info.name}" and meta.embed_dim == info.dimension
    assert set(meta.modalities) == {"image", "text"} and info.fingerprint.startswith(meta.revision)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
@pytest.mark.filterwarnings("ignore")  # what mteb and datasets warn of is theirs
def test_tasks_of_mteb_run(task):
    result = mteb.evaluate(MtebEncoder(ColorEmbedder()), task(), cache=None, show_progress_bar=False)
    (scores,) = result.task_results
    assert np.isfinite(scores.get_score())


def test_vectors_are_the_embedders_in_order():
    embedder = ColorEmbedder()
    batches = [{"image": [picture("red"), picture("blue")]}, {"image": [picture("green")]}]
    vectors = MtebEncoder(embedder).encode(batches, **PLACE, batch_size=2)
    expected = embedder.embed_images([color_frame(color) for color in ("red", "blue", "green")])
    assert vectors == pytest.approx(expected) and vectors.dtype == np.float32
    texts = MtebEncoder(embedder).encode([{"text": ["red", "blue"], "id": ["a", "b"]}], **PLACE)
    assert texts == pytest.approx(embedder.embed_texts(["red", "blue"]))


def test_an_item_with_both_has_the_direction_of_both():
    encoder = MtebEncoder(ColorEmbedder())
    (both,) = encoder.encode([{"image": [picture("red")], "text": ["blue"]}], **PLACE)
    red, blue = ColorEmbedder().embed_texts(["red", "blue"])
    assert both @ red == pytest.approx(both @ blue) and np.linalg.norm(both) == pytest.approx(1)


def test_queries_are_read_as_queries_where_a_model_tells_them_apart():
    class Asking(ColorEmbedder):
        def embed_queries(self, texts):
            return self.embed_texts(["blue"] * len(texts))

    encoder, blue = MtebEncoder(Asking()), ColorEmbedder().embed_texts(["blue"])
    assert encoder.encode([{"text": ["red"]}], **PLACE, prompt_type=PromptType.query) == pytest.approx(blue)
    assert encoder.encode([{"text": ["red"]}], **PLACE, prompt_type=PromptType.document) @ blue[0] == pytest.approx(0)


def test_similarities_are_cosines():
    encoder = MtebEncoder(ColorEmbedder())
    one, two = np.array([[2.0, 0], [0, 3]]), torch.tensor([[1.0, 1], [0, 1]])
    assert encoder.similarity(one, two).numpy() == pytest.approx(np.array([[0.5**0.5, 0], [0.5**0.5, 1]]))
    assert encoder.similarity_pairwise(one, two).numpy() == pytest.approx(np.array([0.5**0.5, 1]))
    assert encoder.similarity(one[0], two[0]).shape == (1, 1)


def test_nothing_gives_nothing_and_sound_is_refused():
    encoder = MtebEncoder(ColorEmbedder())
    assert encoder.encode([], **PLACE).shape == (0, ColorEmbedder().info.dimension)
    with pytest.raises(InputError, match="a batch of mteb has 'audio'; this model reads"):
        encoder.encode([{"audio": [1]}], **PLACE)
