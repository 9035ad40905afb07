import io
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import numpy as np
import pytest
from PIL import Image

from florence_rag.embedding.azure import AzureEmbedder, encode_frame
from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError, ModelError, StoreMismatchError
from florence_rag.testing import color_frame
from tests.embedding import azure_server as azure
from tests.embedding.azure_server import KEY

TODAY = date(2026, 6, 1)


@pytest.fixture
def embedder(connect) -> Callable[..., AzureEmbedder]:
    """Return a function of options of the embedder."""
    return lambda **options: AzureEmbedder(connect(), **{"today": TODAY} | options)


def test_texts_and_images_become_unit_vectors_in_their_order(service, embedder):
    azure_embedder = embedder()
    assert isinstance(azure_embedder, Embedder)
    frames = [color_frame(color) for color in ("red", "green", "blue", "white", "black", "yellow")]
    images = azure_embedder.embed_images(frames)
    texts = azure_embedder.embed_texts(["a red car", "夜景", "a red car"])
    for vectors, rows in ((images, 6), (texts, 3)):
        assert (vectors.shape, vectors.dtype) == ((rows, 1024), np.float32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    alone = np.concatenate([azure_embedder.embed_images([frame]) for frame in frames])
    np.testing.assert_allclose(images, alone, atol=1e-6)
    np.testing.assert_array_equal(texts[0], texts[2])
    assert abs(float(texts[0] @ texts[1])) < 0.2
    assert azure_embedder.embed_images([]).shape == azure_embedder.embed_texts([]).shape == (0, 1024)


def test_requests_follow_the_documentation_of_the_service(service, embedder):
    embedder().embed_texts(["a red car"])
    embedder().embed_images([color_frame("red")])
    text, image = service.requests
    assert text.operation == "/computervision/retrieval:vectorizeText"
    assert image.operation == "/computervision/retrieval:vectorizeImage"
    assert text.query == image.query == {"api-version": "2024-02-01", "model-version": "2023-04-15"}
    assert text.headers["Ocp-Apim-Subscription-Key"] == image.headers["Ocp-Apim-Subscription-Key"] == KEY
    assert (text.headers["Content-Type"], text.text) == ("application/json", "a red car")
    assert image.headers["Content-Type"] == "application/octet-stream"
    assert image.image.size == (48, 48)


def test_the_two_model_versions_have_different_fingerprints(service, embedder, tmp_path):
    from florence_rag.index.milvus import MilvusIndex

    new, old = embedder(), embedder(model_version="2022-04-11")
    assert (new.info.name, new.info.dimension) == ("azure-florence-2023-04-15", 1024)
    assert new.info.name != old.info.name and new.info.fingerprint != old.info.fingerprint
    assert embedder(name="mine").info.name == "mine"
    assert abs(float(new.embed_texts(["a car"])[0] @ old.embed_texts(["a car"])[0])) < 0.2
    assert service.requests[-1].query["model-version"] == "2022-04-11"
    MilvusIndex.open(str(tmp_path / "a.db"), new.info).close()
    with pytest.raises(StoreMismatchError, match=r"was filled by azure-florence-2023-04-15 .*2022-04-11"):
        MilvusIndex.open(str(tmp_path / "a.db"), old.info)


def test_a_reply_of_the_other_model_version_is_refused(service, embedder):
    service.plan = [azure.vector([1.0] * 1024, version="2022-04-11")]
    with pytest.raises(ModelError, match=r"answers with model version '2022-04-11', not '2023-04-15'"):
        embedder().embed_texts(["a"])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (azure.saying("{}"), "answers with model version None"),
        (azure.vector(None), r"answers with a vector of shape \(\)"),
        (azure.vector([0.1] * 1023), r"vector of shape \(1023,\); expected are 1024 numbers"),
        (azure.vector([[0.1], [0.1, 0.2]]), r"vector of shape \(0,\)"),
        (azure.vector(["1"] * 1024), "expected are 1024 numbers"),
        (azure.vector([0.0] * 1024), "has no direction"),
        (azure.vector([float("nan")] * 1024), "has no direction"),
        (azure.vector([1e300] * 1024), "has no direction"),
    ],
)
def test_a_malformed_reply_is_a_model_error_of_one_line(service, embedder, answer, message):
    service.plan = [answer]
    with pytest.raises(ModelError, match=message) as caught:
        embedder().embed_texts(["a"])
    assert service.endpoint in str(caught.value) and "\n" not in str(caught.value)


def test_in_flight_limits_the_requests_at_the_same_time(service, embedder):
    service.plan = [azure.slow(0.05)] * 12
    many = [f"text {i}" for i in range(12)]
    together = embedder(in_flight=3).embed_texts(many)
    assert 2 <= service.most_at_once <= 3
    np.testing.assert_array_equal(together, embedder(in_flight=1).embed_texts(many))


def test_the_first_failure_ends_the_call(service, embedder):
    service.plan = [azure.status(401)]
    with pytest.raises(ModelError, match="401"):
        embedder(in_flight=1).embed_texts(["a"] * 50)
    assert len(service.requests) < 5


def test_threads_may_share_the_embedder(embedder):
    shared = embedder()
    texts = [f"text {i}" for i in range(8)]
    alone = shared.embed_texts(texts)
    with ThreadPoolExecutor(4) as pool:
        for row, vector in enumerate(pool.map(lambda text: shared.embed_texts([text])[0], texts)):
            np.testing.assert_array_equal(vector, alone[row])


def test_truncated_texts_are_logged_once(service, embedder, caplog):
    words = [f"word{i}" for i in range(100)]
    with caplog.at_level(logging.WARNING):
        embedder().embed_texts(["  ".join(words), " ".join(words), " ".join(words[:70])])
    assert sorted(request.text for request in service.requests) == sorted(
        ["  ".join(words[:70]), " ".join(words[:70]), " ".join(words[:70])]
    )
    assert [record.message for record in caplog.records] == [
        "azure-florence-2023-04-15 reads the first 70 words of longer texts"
    ]


def test_two_characters_of_a_script_without_spaces_count_as_a_word(service, embedder):
    embedder().embed_texts(["夜景" * 100 + "。"])
    assert service.requests[0].text == "夜景" * 70


def test_too_long_may_refuse_texts(service, embedder):
    with pytest.raises(InputError, match=r"the text 'w w .*'... has 71 words; Azure AI Vision takes 70"):
        embedder(too_long="error").embed_texts(["fine", "w " * 71])
    assert service.requests == []


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_refused_before_anything_is_sent(service, embedder, text):
    with pytest.raises(InputError, match=r"has no word; Azure AI Vision embeds texts of 1 to 70 words"):
        embedder().embed_texts(["a red car", text])
    assert service.requests == []


@pytest.mark.parametrize(
    ("height", "width", "size", "kind"),
    [
        (100, 200, (200, 100), "JPEG"),
        (64, 10, (11, 70), "JPEG"),
        (2, 2, (11, 11), "PNG"),
        (63, 40, (40, 63), "PNG"),
        (1000, 4000, (1280, 320), "JPEG"),
        (1, 3000, (1280, 11), "JPEG"),
    ],
)
def test_images_are_scaled_to_the_limits(height, width, size, kind):
    image = Image.open(io.BytesIO(encode_frame(np.full((height, width, 3), 200, dtype=np.uint8), 1280)))
    assert (image.size, image.format) == (size, kind)
    np.testing.assert_allclose(np.asarray(image), 200, atol=2)


def test_an_image_of_too_many_bytes_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, (4800, 4800, 3), dtype=np.uint8)
    with pytest.raises(InputError, match=r"4800 x 4800 px takes \d+ bytes as JPEG.*set a smaller max_side_px"):
        encode_frame(noise)


@pytest.mark.parametrize("frame", [np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3))])
def test_a_malformed_image_is_refused(frame):
    with pytest.raises(InputError, match=r"an image must be \(H, W, 3\) uint8, not"):
        encode_frame(frame)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_version": "latest"}, "'latest' is not one of 2023-04-15, 2022-04-11"),
        ({"in_flight": 0}, "in_flight is 0"),
        ({"too_long": "split"}, "allowed are 'truncate' and 'error'"),
        ({"max_side_px": 20_000}, "allowed are 11 to 15999"),
    ],
)
def test_options_are_checked(embedder, options, message):
    with pytest.raises(InputError, match=message) as caught:
        embedder(**options)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("today", "notice"),
    [
        (date(2027, 9, 25), None),
        (date(2027, 9, 27), "retires in 364 days, on 2028-09-25"),
        (date(2028, 10, 1), "was to retire on 2028-09-25"),
    ],
)
def test_a_year_before_the_service_retires_there_is_a_warning(embedder, caplog, today, notice):
    with caplog.at_level(logging.WARNING):
        embedder(today=today).embed_texts(["a", "b"])
    said = [record.message for record in caplog.records]
    if notice is None:
        assert said == []
    else:
        (message,) = said
        assert notice in message and "florence-rag reembed --to MODEL" in message
