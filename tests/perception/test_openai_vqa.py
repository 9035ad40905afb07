import socket
import subprocess
import sys

import numpy as np
import pytest

from florence_rag.errors import InputError, ModelError
from florence_rag.perception.base import Matcher, VisualQA
from florence_rag.perception.openai_vqa import OpenAIVisionQA
from florence_rag.testing import color_frame
from tests.perception.openai_service import completion, sent_image

KEY = "secret-key"


@pytest.fixture
def ask(service):
    """Ask the service for the color of an image, by a model with these options."""
    opened = []

    def ask(frame=None, question="What color is it?", **options):
        options = {"base_url": service.url, "api_key": KEY, "retries": 0, "timeout_s": 5.0, **options}
        model = OpenAIVisionQA("seer", **options)
        opened.append(model)
        return model.answer(color_frame("red") if frame is None else frame, question)

    yield ask
    for model in opened:
        model.close()


def test_it_is_a_visual_qa_model_and_no_matcher(service):
    model = OpenAIVisionQA("seer", base_url=service.url)
    assert isinstance(model, VisualQA) and not isinstance(model, Matcher)
    model.close()


def test_the_request_has_the_question_and_the_image(service, ask):
    service.replies = [(200, completion("Red."))]
    wide = np.tile(color_frame("red", "blue", size_px=600), (1, 4, 1))
    assert ask(wide, "  What color?\n", max_side_px=256, options={"temperature": 0}).answer == "Red"
    ((path, headers, body),) = service.requests
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["temperature"], body["logprobs"], body["max_tokens"]) == ("seer", 0, True, 500)
    picture, text = body["messages"][0]["content"]
    assert text["text"].endswith("Question: What color?")
    sent = sent_image(body)
    assert (picture["type"], sent.format, sent.size) == ("image_url", "JPEG", (256, 64))
    assert abs(np.asarray(sent)[5, 5].astype(int) - (255, 0, 0)).max() < 30


def test_confidence_is_the_probability_of_the_whole_answer(service, ask):
    service.replies = [(200, completion("a red\n car", [-0.1, -0.2, 0.0]))]
    result = ask()
    assert (result.answer, result.confidence) == ("a red car", pytest.approx(0.7408, abs=1e-4))
    assert result.candidates == (("a red car", result.confidence),)


@pytest.mark.parametrize("logprobs", [None, []])
def test_without_probabilities_there_is_no_confidence(service, ask, logprobs):
    service.replies = [(200, completion("red", logprobs))]
    result = ask()
    assert (result.answer, result.confidence, result.candidates) == ("red", None, ())


def test_a_service_that_refuses_log_probabilities_gets_requests_without_them(service):
    refusal = (400, {"error": {"message": "logprobs are not supported by this model"}})
    service.replies = [refusal, (200, completion("red")), (200, completion("blue"))]
    model = OpenAIVisionQA("seer", base_url=service.url, retries=0)
    assert [model.answer(color_frame("red"), "What?").answer for _ in range(2)] == ["red", "blue"]
    assert ["logprobs" in body for _, _, body in service.requests] == [True, False, False]
    assert service.requests[0][1]["Authorization"] == "Bearer none"
    model.close()


def test_an_abbreviation_keeps_its_point(service, ask):
    service.replies = [(200, completion("3 p.m."))]
    assert ask().answer == "3 p.m."


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((401, {"error": {"message": "Incorrect API key"}}), r"refuses the key \(401\): .*Incorrect API key"),
        ((403, {"error": {"message": "region"}}), r"refuses the key \(403\)"),
        ((404, {"error": {"message": "The model does not exist"}}), "has no model 'seer'"),
        ((400, {"error": {"message": "image too large"}}), r"failed \(400\): .*image too large"),
        ((429, {"error": {"message": "quota"}}), r"failed \(429\): .*quota"),
        ((500, b"<html>oops\n\n</html>", ("Content-Type", "text/html")), r"failed \(500\)"),
        ((200, b"{'broken", ("Content-Type", "application/json")), "not an answer"),
        ((200, b"<html>a portal</html>", ("Content-Type", "text/html")), "not an answer: <html>a portal"),
        ((200, {"choices": []}), "not an answer"),
        ((200, {"choices": None}), "not an answer"),
        ((200, {"detail": "what?"}), "not an answer"),
        ((200, [1, 2]), "not an answer"),
        ((200, completion("")), "not an answer"),
        ((200, completion(None)), "not an answer"),
        ((200, completion(["a", "list"])), "not an answer"),
        ((200, completion("red", ["many"])), "not an answer"),
        (None, "cannot be reached"),
    ],
)
def test_a_service_that_misbehaves_is_a_model_error_in_one_line(service, ask, reply, message):
    service.replies = [reply]
    with pytest.raises(ModelError, match=message) as caught:
        ask()
    text = str(caught.value)
    assert service.url in text and "\n" not in text and KEY not in text and len(text) < 500


def test_a_temporary_failure_is_retried(service, ask):
    soon = (429, {"error": {"message": "slow down"}}, ("Content-Type", "application/json"), ("Retry-After", "0.01"))
    service.replies = [soon, (200, completion("red"))]
    assert ask(retries=1).answer == "red"
    assert len(service.requests) == 2


def test_an_image_is_not_sent_to_where_a_service_redirects(service, ask):
    service.replies = [(307, {}, ("Location", f"{service.url}/elsewhere")), (200, completion("red"))]
    with pytest.raises(ModelError, match=r"failed \(307\)"):
        ask()
    assert [path for path, _, _ in service.requests] == ["/v1/chat/completions"]


def test_a_timeout_is_a_model_error(service, ask):
    service.replies = [lambda _: service.released.wait(30) and None]
    with pytest.raises(ModelError, match=r"did not answer within 0\.2 s"):
        ask(timeout_s=0.2)


def test_an_unreachable_address_is_named_in_the_error(ask):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(ModelError, match=f"{url} cannot be reached .* is it running"):
            ask(base_url=url)


def test_an_empty_question_is_refused_before_anything_is_sent(service, ask):
    with pytest.raises(InputError, match="the question is empty"):
        ask(question=" \n")
    assert service.requests == []


@pytest.mark.parametrize("base_url", [None, ""])
def test_openai_itself_needs_a_key(base_url):
    with pytest.raises(ModelError, match=r"OpenAI needs a key: set OPENAI_API_KEY; or set OPENAI_BASE_URL .*Ollama"):
        OpenAIVisionQA("gpt-4o", base_url=base_url)


@pytest.mark.parametrize("base_url", ["localhost:11434/v1", "ftp://host/v1", "http://", "/v1"])
def test_an_address_that_is_no_url_is_refused_at_once(base_url):
    with pytest.raises(ModelError, match="write it as http://HOST:PORT/v1"):
        OpenAIVisionQA("seer", base_url=base_url)


def test_an_address_without_its_version_is_explained(service, ask):
    service.replies = [(404, b"404 page not found")]
    with pytest.raises(ModelError, match=rf"or is not the base URL: .*; is it {service.url}\?"):
        ask(base_url=service.url.removesuffix("/v1"))


def test_thoughts_are_no_part_of_an_answer(service, ask):
    service.replies = [(200, completion("<think>It may be\nred.</think>\nred"))]
    assert ask().answer == "red"


def test_a_service_that_is_away_is_not_asked_again_for_every_image():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        model = OpenAIVisionQA("seer", base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1", retries=0)
        for hint in ("is it running?$", "is it running?$", "is it running?$", "not tried again for 30 s"):
            with pytest.raises(ModelError, match=hint.replace("?", r"\?")):
                model.answer(color_frame("red"), "What?")
    model.close()


def test_without_the_sdk_the_extra_is_named():
    script = (
        "import sys; sys.modules['openai'] = None\n"
        "try:\n    import florence_rag.perception.openai_vqa\n"
        "except ImportError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert "pip install 'florence-rag[openai]'" in said
