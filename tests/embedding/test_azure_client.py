from concurrent.futures import ThreadPoolExecutor

import pytest

from florence_rag.embedding.azure_client import AzureVisionClient, RateLimiter, RetryPolicy
from florence_rag.errors import FlorenceError, InputError, ModelError
from tests.embedding import azure_server as azure
from tests.embedding.azure_server import KEY


def post(client: AzureVisionClient) -> dict:
    """Send a text and return the reply."""
    return client.post("retrieval:vectorizeText", {"model-version": "2023-04-15"}, b'{"text": "a"}', "application/json")


def test_a_request_has_the_version_of_the_interface_and_the_parameters(service, connect):
    post(connect())
    (request,) = service.requests
    assert request.operation == "/computervision/retrieval:vectorizeText"
    assert request.query == {"api-version": "2024-02-01", "model-version": "2023-04-15"}
    assert (request.headers["Content-Type"], request.text) == ("application/json", "a")


def test_an_entra_token_is_requested_before_every_attempt(service, connect):
    tokens = iter(["first", "second", "third"])
    service.plan = [azure.status(503)]
    post(connect(token=lambda: next(tokens)))
    post(connect(token="fixed"))
    seen = [request.headers["Authorization"] for request in service.requests]
    assert seen == ["Bearer first", "Bearer second", "Bearer fixed"]


def test_a_token_that_is_not_available_is_one_error(connect):
    def expired() -> str:
        raise RuntimeError("secret log\nof two lines")

    with pytest.raises(ModelError, match=r"no token for http://127.0.0.1:\d+ is available \(RuntimeError\); log in"):
        post(connect(token=expired))


@pytest.mark.parametrize("trouble", [azure.status(429), azure.status(500, "oops"), azure.status(503), azure.cut])
def test_waits_grow_with_every_attempt(service, connect, time, trouble):
    service.plan = [trouble] * 4
    assert len(post(connect())["vector"]) == 1024
    assert len(service.requests) == 5
    assert time.slept == [1.0, 2.0, 4.0, 8.0]


def test_waits_are_random_and_bounded(service, connect, time):
    service.plan = [azure.status(500)] * 3
    post(connect(clock=time.clock(chance=0.0)))
    assert time.slept == [0.5, 1.0, 2.0]
    assert RetryPolicy(longest_wait_s=5.0).wait_s(10, 1.0) == 5.0


def test_a_slow_answer_is_a_failed_attempt(service, connect, time):
    service.plan = [azure.slow(0.6)]
    post(connect(retry_policy=RetryPolicy(timeout_s=0.2)))
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
def test_the_wait_is_as_long_as_the_service_asks(service, connect, time, headers, wait_s, code):
    service.plan = [azure.status(code, **headers)]
    post(connect())
    assert time.slept == [wait_s]


def test_the_number_of_attempts_and_the_time_are_limited(service, connect, time):
    service.plan = [azure.status(500, "the server is tired")] * 20
    with pytest.raises(ModelError, match=r"does not serve \(500 Trouble the server is tired\), tried 3 times in 3 s"):
        post(connect(retry_policy=RetryPolicy(tries=3)))
    assert len(service.requests) == 3
    with pytest.raises(ModelError, match=r"tried 3 times in 3 s; try again later, or with fewer requests_per_s"):
        post(connect(retry_policy=RetryPolicy(total_s=6.0)))


def test_a_wait_beyond_the_limit_is_an_error_at_once(service, connect, time):
    service.plan = [azure.status(429, Retry_After="86400")]
    with pytest.raises(ModelError, match=r"does not serve \(429 and asks to wait 86400 s\), tried 1 times"):
        post(connect())
    assert time.slept == []


def test_all_threads_wait_when_the_service_asks_one_to(service, connect, time):
    service.plan = [azure.status(429, Retry_After="20")]
    client = connect()
    post(client)
    post(client)
    assert time.slept[0] == 20.0
    assert time.now_s >= 1020.0
    limiter = RateLimiter(1000.0, time.clock())
    limiter.pause(5.0)
    before = time.now_s
    limiter.acquire()
    assert time.now_s == before + 5.0


def test_an_unreachable_server_is_named(service, connect, time):
    gone = connect(retry_policy=RetryPolicy(tries=2))
    service.stop_listening()
    with pytest.raises(ModelError, match=r"does not serve \(ConnectError .*tried 2 times") as caught:
        post(gone)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "advice"),
    [(401, "check the key or token"), (403, "check the role"), (404, "its region offers"), (302, "check the endpoint")],
)
def test_permanent_failures_are_not_retried_and_come_with_advice(service, connect, time, code, advice):
    service.plan = [azure.status(code, f"Access denied\nfor {KEY}", Location="http://127.0.0.1:1/")]
    with pytest.raises(ModelError, match=advice) as caught:
        post(connect())
    message = str(caught.value)
    assert message.startswith(f"{service.endpoint} answers {code} Trouble Access denied for ***; ")
    assert (len(service.requests), time.slept) == (1, [])


def test_a_refused_item_is_an_input_error(service, connect):
    service.plan = [azure.status(400, "the image is corrupt")]
    with pytest.raises(InputError, match=r"refuses the item \(400 Trouble the image is corrupt\)"):
        post(connect())


def test_the_rate_limit_holds_across_threads(time):
    limiter = RateLimiter(10.0, time.clock())
    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(limiter.acquire) for _ in range(21)]:
            each.result()
    assert time.now_s >= 1000.0 + 20 / 10
    with pytest.raises(InputError, match="requests_per_s is 0"):
        RateLimiter(0, time.clock())


def test_a_line_break_at_the_end_of_a_key_is_ignored(service, connect):
    post(connect(key=f"{KEY}\n"))
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


def test_no_error_contains_the_key(service, connect):
    for trouble in (
        azure.status(401, KEY),
        azure.status(400, KEY),
        azure.status(500, KEY),
        azure.saying(KEY),
        azure.cut,
    ):
        service.plan = [trouble]
        with pytest.raises(FlorenceError) as caught:
            post(connect(retry_policy=RetryPolicy(tries=1)))
        assert KEY not in str(caught.value)
    assert KEY not in repr(vars(connect()))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<html>", "answers 200 without a JSON object; is it Azure AI Vision"),
        ("[]", "answers 200 without a JSON object"),
        (b"\xff\xfe", "answers 200 without a JSON object"),
    ],
)
def test_a_reply_that_is_no_json_object_is_a_model_error_of_one_line(service, connect, body, message):
    service.plan = [azure.saying(body)]
    with pytest.raises(ModelError, match=message) as caught:
        post(connect())
    assert service.endpoint in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": None}, "needs either a key or a token"),
        ({"token": "x", "key": KEY}, "needs either a key or a token"),
        ({"key": "  "}, "the key or token for Azure AI Vision is empty"),
        ({"key": f"{KEY}\nX-Evil: 1"}, "or has characters that no secret has"),
        ({"requests_per_s": -1}, "requests_per_s is -1"),
    ],
)
def test_options_of_the_client_are_checked(connect, options, message):
    with pytest.raises(InputError, match=message) as caught:
        connect(**options)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("token", ["", "two\nlines", None, 5])
def test_a_token_that_a_header_cannot_hold_is_refused_before_anything_is_sent(service, connect, token):
    with pytest.raises(InputError, match="the key or token for Azure AI Vision is empty or has characters"):
        post(connect(token=lambda: token))
    assert service.requests == []


def test_a_slash_at_the_end_of_the_endpoint_is_ignored():
    client = AzureVisionClient(" https://x.cognitiveservices.azure.com/ ", key=KEY)
    client.close()
    assert client.endpoint == "https://x.cognitiveservices.azure.com"


def test_a_long_reason_is_shortened(service, connect):
    service.plan = [azure.status(401, "x" * 5000)]
    with pytest.raises(ModelError, match="answers 401 Trouble xxx") as caught:
        post(connect())
    assert len(str(caught.value)) < 500


def test_a_pause_never_shortens_a_longer_one(time):
    limiter = RateLimiter(1000.0, time.clock())
    limiter.pause(5.0)
    limiter.pause(1.0)
    limiter.acquire()
    assert time.slept == [5.0]
