"""Captions by a service with OpenAI's chat API, here a local stand-in."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from florence_rag import FlorenceRAG
from florence_rag.cli.app import app
from florence_rag.context import Models
from florence_rag.errors import InputError, ModelError
from florence_rag.loading.loaders import CAPTIONER
from florence_rag.loading.model_loader import load_model
from florence_rag.loading.model_options import ModelOptions
from florence_rag.perception.base import Captioner
from florence_rag.perception.openai_captioner import OpenAICaptioner
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from tests.perception.openai_service import completion, sent_image

COLORS = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255)}
REFUSED = (400, {"error": {"message": "the image was rejected by the content policy"}})


def color_of(body):
    pixel = np.asarray(sent_image(body))[2, 2].astype(int)
    return min({**COLORS, "gray": (128, 128, 128)}.items(), key=lambda item: abs(pixel - item[1]).sum())[0]


def describe(body):
    """Describe an image by its color, and refuse red ones."""
    color = color_of(body)
    return REFUSED if color == "red" else (200, completion(f"A {color}\n surface."))


class EndlessReplies(list):
    """The same reply to every request."""

    def pop(self, *_):
        return self[0]


@pytest.fixture
def captioner(service):
    """Open a captioner at the service with these options; the first reply is for the image of its constructor."""
    opened = []

    def captioner(*replies, **options):
        service.replies = [(200, completion("A gray square.")), *replies]
        model = OpenAICaptioner("seer", **{"base_url": service.url, "retries": 0, "timeout_s": 5.0, **options})
        opened.append(model)
        service.requests.clear()
        return model

    yield captioner
    for model in opened:
        model.close()


def test_a_request_has_an_instruction_and_a_small_image_and_nothing_else(service, captioner):
    model = captioner((200, completion("<think>Hm.</think> Two\n squares. ")), max_side_px=256)
    assert isinstance(model, Captioner)
    wide = np.tile(color_frame("red", "blue", size_px=600), (1, 4, 1))
    assert model.caption([wide]) == ["Two squares."]
    ((path, headers, body),) = service.requests
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer none"
    assert body["max_tokens"] == 500 and "logprobs" not in body
    assert sent_image(body).size == (256, 64)
    (message,) = body["messages"]
    assert message["role"] == "user" and message["content"][1]["text"].startswith("Describe this picture")


def test_captions_have_the_order_of_the_images(service, captioner):
    model = captioner()
    service.replies = EndlessReplies([describe])
    frames = [color_frame(color) for color in ("green", "blue", "green", "blue", "blue")]
    assert model.caption(frames) == [f"A {color} surface." for color in ("green", "blue", "green", "blue", "blue")]
    assert model.caption([]) == []


def test_no_more_requests_than_allowed_are_sent_at_the_same_time(service, captioner):
    model, running, most = captioner(parallel=2), [], []

    def slow(body):
        running.append(body)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()
        return 200, completion("Gray.")

    service.replies = EndlessReplies([slow])
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(model.caption, [[color_frame("red")] * 3] * 3))
    assert max(most) == 2 and len(most) == 9


def test_captions_next_to_a_failure_are_not_paid_for_twice(service, captioner):
    model = captioner()
    service.replies = EndlessReplies([describe])
    frames = [color_frame(color) for color in ("green", "red", "blue")]
    with pytest.raises(ModelError, match=r"the model 'seer' at .* failed \(400\): .*content policy"):
        model.caption(frames)
    assert (model.caption(frames[:1]), model.caption(frames[2:])) == (["A green surface."], ["A blue surface."])
    assert sorted(color_of(body) for _, _, body in service.requests) == ["blue", "green", "red"]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((401, {"error": {"message": "Incorrect API key"}}), r"refuses the key \(401\): .*OPENAI_API_KEY"),
        ((404, {"error": {"message": "model not found, try pulling it first"}}), "has no model 'seer'"),
        ((400, {"error": {"message": "this model does not support images"}}), "does not support images"),
        ((200, {"choices": []}), "not an answer"),
        (None, "cannot be reached"),
    ],
)
def test_a_service_that_cannot_describe_is_an_error_before_a_run(service, reply, message):
    service.replies = [reply]
    with pytest.raises(ModelError, match=message) as caught:
        OpenAICaptioner("seer", base_url=service.url, retries=0)
    assert "\n" not in str(caught.value)


def test_newer_models_get_their_limit_of_tokens_by_its_new_name(service):
    refusal = {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}}
    service.replies = [(400, refusal), (200, completion("Gray.")), (200, completion("Red."))]
    model = OpenAICaptioner("seer", base_url=service.url, max_tokens=70, retries=0)
    assert model.caption([color_frame("red")]) == ["Red."]
    limits = [(body.get("max_tokens"), body.get("max_completion_tokens")) for _, _, body in service.requests]
    assert limits == [(70, None), (None, 70), (None, 70)]
    model.close()


def test_a_limit_of_tokens_that_is_refused_by_both_names_is_an_error(service):
    old = {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}}
    new = {"error": {"message": "max_completion_tokens must be at most 16"}}
    service.replies = [(400, old), (400, new), (400, new), (400, new)]
    with pytest.raises(ModelError, match="max_completion_tokens must be at most 16"):
        OpenAICaptioner("seer", base_url=service.url, retries=0)
    assert len(service.requests) <= 3


def test_a_model_that_only_thinks_is_an_error_and_one_that_says_nothing_is_not(captioner):
    cut = completion("<think>Let me see")
    cut["choices"][0]["finish_reason"] = "length"
    model = captioner((200, cut), (200, completion(None)))
    with pytest.raises(ModelError, match="wrote no caption: its 500 tokens were spent on thoughts"):
        model.caption([color_frame("red")])
    assert model.caption([color_frame("red")]) == [""]


def test_a_reply_without_end_is_cut(captioner):
    assert len(captioner((200, completion("word " * 10_000))).caption([color_frame("red")])[0]) == 2000


def test_a_limit_below_one_is_refused():
    with pytest.raises(InputError, match="must be at least 1"):
        OpenAICaptioner("seer", base_url="http://localhost:1/v1", max_tokens=0)


def test_a_name_with_its_family_loads_it(service):
    service.replies = [(200, completion("Gray.")), (200, completion("Red."))]
    options = ModelOptions(openai_url=service.url)
    model = load_model(CAPTIONER, "openai:llava:7b", options)
    assert model.caption([color_frame("red")]) == ["Red."]
    assert {body["model"] for _, _, body in service.requests} == {"llava:7b"}


@pytest.fixture
def pictures(tmp_path):
    for color in COLORS:
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    return tmp_path


def test_one_image_that_is_refused_does_not_stop_a_run(service, captioner, pictures):
    embedder = ColorEmbedder()
    models = Models.of(embedder, captioner=captioner())
    service.replies = EndlessReplies([describe])
    rag = FlorenceRAG(MemoryIndex(embedder.info), models)
    report = rag.add(pictures)
    (failure,) = report.failed
    assert report.added == 2 and failure.source.endswith("red.png") and "content policy" in failure.reason
    assert {hit.caption for hit in rag.search("blue")} == {"A blue surface.", "A green surface."}
    described = rag.describe([pictures / f"{color}.png" for color in COLORS])
    assert [each.caption for each in described.images] == ["A green surface.", "A blue surface."]
    assert [failed.source for failed in described.failed] == [str(pictures / "red.png")]
    with pytest.raises(ModelError, match="content policy"):
        rag.describe([pictures / "red.png"])


def test_the_command_line_reads_the_address_from_the_environment(service, pictures, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", service.url)
    monkeypatch.setenv("OPENAI_API_KEY", "")
    service.replies = [(200, completion("Gray.")), (200, completion("A blue wall."))]
    result = CliRunner().invoke(app, ["describe", str(pictures / "blue.png"), "--captioner", "openai:llava"])
    assert result.exit_code == 0 and "A blue wall." in result.stdout
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    result = CliRunner().invoke(app, ["describe", str(pictures / "blue.png"), "--captioner", "openai:llava"])
    assert result.exit_code == 1 and "set OPENAI_API_KEY; or set OPENAI_BASE_URL" in result.stderr
