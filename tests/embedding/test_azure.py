import io
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pytest
from PIL import Image

from florence_rag.embedding.azure import AzureEmbedder, encode_frame
from florence_rag.embedding.azure_client import AzureVisionClient, Clock, RateLimiter, RetryPolicy
from florence_rag.embedding.base import Embedder
from florence_rag.errors import FlorenceError, InputError, ModelError, StoreMismatchError
from florence_rag.testing import color_frame
from tests.embedding import azure_server as azure
from tests.embedding.azure_server import KEY, FakeAzure

TODAY = date(2026, 6, 1)
LONG_AGO_S = 1_780_000_000.0


CONNECTION_OPTIONS = {"key", "token", "requests_per_s", "retry_policy", "clock"}


@dataclass
class FakeTime:
    """A clock that sleeping advances without taking time."""

    now_s: float = 1000.0
    slept: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.slept.append(round(seconds, 6))
            self.now_s += seconds

    def clock(self, chance: float = 1.0) -> Clock:
        today = LONG_AGO_S - self.now_s
        return Clock(lambda: self.now_s, lambda: today + self.now_s, self.sleep, lambda: chance)


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def service() -> Iterator[FakeAzure]:
    with FakeAzure() as fake:
        yield fake


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def embedder(service, time) -> Iterator[Callable[..., AzureEmbedder]]:
    """Return a function of options of the client and the embedder."""
    clients: list[AzureVisionClient] = []

    def make(**options) -> AzureEmbedder:
        connection = {"requests_per_s": 1e6, "clock": time.clock()}
        if "token" not in options:
            connection["key"] = KEY
        connection |= {name: options.pop(name) for name in CONNECTION_OPTIONS & options.keys()}
        clients.append(AzureVisionClient(service.endpoint, **connection))
        return AzureEmbedder(clients[-1], **{"today": TODAY} | options)

    yield make
    for client in clients:
        client.close()


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


def test_an_entra_token_is_requested_before_every_attempt(service, embedder):
    tokens = iter(["first", "second", "third"])
    service.plan = [azure.status(503)]
    embedder(token=lambda: next(tokens)).embed_texts(["a", "b"][:1])
    embedder(token="fixed").embed_texts(["a"])
    seen = [request.headers["Authorization"] for request in service.requests]
    assert seen == ["Bearer first", "Bearer second", "Bearer fixed"]


def test_a_token_that_is_not_available_is_one_error(embedder):
    def expired() -> str:
        raise RuntimeError("secret log\nof two lines")

    with pytest.raises(ModelError, match=r"no token for http://127.0.0.1:\d+ is available \(RuntimeError\); log in"):
        embedder(token=expired).embed_texts(["a"])


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


@pytest.mark.parametrize("trouble", [azure.status(429), azure.status(500, "oops"), azure.status(503), azure.cut])
def test_waits_grow_with_every_attempt(service, embedder, time, trouble):
    service.plan = [trouble] * 4
    assert embedder().embed_texts(["a red car"]).shape == (1, 1024)
    assert len(service.requests) == 5
    assert time.slept == [1.0, 2.0, 4.0, 8.0]


def test_waits_are_random_and_bounded(service, embedder, time):
    service.plan = [azure.status(500)] * 3
    embedder(clock=time.clock(chance=0.0)).embed_texts(["a"])
    assert time.slept == [0.5, 1.0, 2.0]
    assert RetryPolicy(longest_wait_s=5.0).wait_s(10, 1.0) == 5.0


def test_a_slow_answer_is_a_failed_attempt(service, embedder, time):
    service.plan = [azure.slow(0.6)]
    embedder(retry_policy=RetryPolicy(timeout_s=0.2)).embed_texts(["a"])
    assert (len(service.requests), time.slept) == (2, [1.0])


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": "0"}, 1.0),
        ({"Retry_After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"Retry_After": "Thu, 28 May 2026 20:26:50 GMT"}, 10.0),  # LONG_AGO_S is 20:26:40 of that day
        ({"Retry_After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 1.0),
        ({"Retry_After": "soon"}, 1.0),
        ({"Retry_After": "-5"}, 1.0),
    ],
)
@pytest.mark.parametrize("code", [429, 503])
def test_the_wait_is_as_long_as_the_service_asks(service, embedder, time, headers, wait_s, code):
    service.plan = [azure.status(code, **headers)]
    embedder().embed_texts(["a"])
    assert time.slept == [wait_s]


def test_the_number_of_attempts_and_the_time_are_limited(service, embedder, time):
    service.plan = [azure.status(500, "the server is tired")] * 20
    with pytest.raises(ModelError, match=r"does not serve \(500 Trouble the server is tired\), tried 3 times in 3 s"):
        embedder(retry_policy=RetryPolicy(tries=3)).embed_texts(["a"])
    assert len(service.requests) == 3
    with pytest.raises(ModelError, match=r"tried 3 times in 3 s; try again later, or with fewer requests_per_s"):
        embedder(retry_policy=RetryPolicy(total_s=6.0)).embed_texts(["a"])


def test_a_wait_beyond_the_limit_is_an_error_at_once(service, embedder, time):
    service.plan = [azure.status(429, Retry_After="86400")]
    with pytest.raises(ModelError, match=r"does not serve \(429 and asks to wait 86400 s\), tried 1 times"):
        embedder().embed_texts(["a"])
    assert time.slept == []


def test_all_threads_wait_when_the_service_asks_one_to(service, embedder, time):
    service.plan = [azure.status(429, Retry_After="20")]
    one = embedder(in_flight=1)
    one.embed_texts(["a", "b"])
    assert time.slept[0] == 20.0
    assert time.now_s >= 1020.0
    limiter = RateLimiter(1000.0, time.clock())
    limiter.pause(5.0)
    before = time.now_s
    limiter.acquire()
    assert time.now_s == before + 5.0


def test_an_unreachable_server_is_named(service, embedder, time):
    gone = embedder(retry_policy=RetryPolicy(tries=2))
    service.stop_listening()
    with pytest.raises(ModelError, match=r"does not serve \(ConnectError .*tried 2 times") as caught:
        gone.embed_texts(["a"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "advice"),
    [(401, "check the key or token"), (403, "check the role"), (404, "its region offers"), (302, "check the endpoint")],
)
def test_permanent_failures_are_not_retried_and_come_with_advice(service, embedder, time, code, advice):
    service.plan = [azure.status(code, f"Access denied\nfor {KEY}", Location="http://127.0.0.1:1/")]
    with pytest.raises(ModelError, match=advice) as caught:
        embedder().embed_texts(["a"])
    message = str(caught.value)
    assert message.startswith(f"{service.endpoint} answers {code} Trouble Access denied for ***; ")
    assert (len(service.requests), time.slept) == (1, [])


def test_a_refused_item_is_an_input_error(service, embedder):
    service.plan = [azure.status(400, "the image is corrupt")]
    with pytest.raises(InputError, match=r"refuses the item \(400 Trouble the image is corrupt\)"):
        embedder().embed_images([color_frame("red")])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (azure.saying("<html>"), "answers 200 without a JSON object; is it Azure AI Vision"),
        (azure.saying("[]"), "answers 200 without a JSON object"),
        (azure.saying(b"\xff\xfe"), "answers 200 without a JSON object"),
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


def test_the_rate_limit_holds_across_threads(time):
    limiter = RateLimiter(10.0, time.clock())
    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(limiter.acquire) for _ in range(21)]:
            each.result()
    assert time.now_s >= 1000.0 + 20 / 10
    with pytest.raises(InputError, match="requests_per_s is 0"):
        RateLimiter(0, time.clock())


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
        ({"key": None}, "needs either a key or a token"),
        ({"token": "x", "key": KEY}, "needs either a key or a token"),
        ({"key": "  "}, "the key or token for Azure AI Vision is empty"),
        ({"key": f"{KEY}\nX-Evil: 1"}, "or has characters that no secret has"),
        ({"model_version": "latest"}, "'latest' is not one of 2023-04-15, 2022-04-11"),
        ({"in_flight": 0}, "in_flight is 0"),
        ({"requests_per_s": -1}, "requests_per_s is -1"),
        ({"too_long": "split"}, "allowed are 'truncate' and 'error'"),
        ({"max_side_px": 20_000}, "allowed are 11 to 15999"),
    ],
)
def test_options_are_checked(embedder, options, message):
    with pytest.raises(InputError, match=message) as caught:
        embedder(**options)
    assert KEY not in str(caught.value)


def test_a_line_break_at_the_end_of_a_key_is_ignored(service, embedder):
    embedder(key=f"{KEY}\n").embed_texts(["a"])
    assert service.requests[0].headers["Ocp-Apim-Subscription-Key"] == KEY


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "x.cognitiveservices.azure.com",
        "http://x.azure.com",
        f"https://a:{KEY}@x.com",
        f"https://x.com/?key={KEY}",
        5,
    ],
)
def test_an_endpoint_must_be_encrypted_and_without_a_key(endpoint):
    with pytest.raises(InputError, match=r"https://NAME.cognitiveservices.azure.com") as caught:
        AzureVisionClient(endpoint, key=KEY)
    assert KEY not in str(caught.value)


def test_no_error_contains_the_key(service, embedder):
    for trouble in (
        azure.status(401, KEY),
        azure.status(400, KEY),
        azure.status(500, KEY),
        azure.saying(KEY),
        azure.cut,
    ):
        service.plan = [trouble]
        with pytest.raises(FlorenceError) as caught:
            embedder(retry_policy=RetryPolicy(tries=1)).embed_texts(["a"])
        assert KEY not in str(caught.value)
    assert KEY not in repr(vars(embedder()))


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
