import json
import time

import pytest
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage
from PIL import Image

from florence_rag import Chat, FlorenceRAG, InputError, ModelError, Turn
from florence_rag.answering.budget import Budget
from florence_rag.chat.session import NOTHING_MORE
from florence_rag.context import Models
from florence_rag.retrieval.query import Query, QueryPart
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, color_frame


@pytest.fixture
def rag(tmp_path):
    for color in ("red", "blue", "green"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    (tmp_path / "note.txt").write_text("The mill was built by Ada Ferrier. It is 30 metres high.")
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, vqa=ColorVQA())) as rag:
        rag.add(tmp_path)
        yield rag


class Scripted:
    """A chat model that gives scripted replies, and keeps what it received."""

    def __init__(self, *replies):
        self.replies, self.received = list(replies), []

    def invoke(self, messages):
        self.received.append(messages)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return AIMessage(reply)

    def images(self, call=-1):
        content = self.received[call][-1]["content"]
        return [block for block in content if block["type"] == "image"] if isinstance(content, list) else []

    def text(self, call=-1):
        content = self.received[call][-1]["content"]
        return content if isinstance(content, str) else "\n".join(block.get("text", "") for block in content)


def names(turn):
    return [hit.source.rpartition("/")[2] for hit in turn.hits]


def test_a_turn_has_a_numbered_answer_and_its_hits(rag):
    turn = rag.chat(min_relevance=0).ask("red")
    assert isinstance(turn, Turn)
    assert turn.answer.answer.startswith("The best matches: [1] red.png, [2] ")
    assert turn.citations[1].source == turn.hits[0].source
    assert turn.hits[0].source.endswith("red.png")


def test_the_stream_ends_with_the_turn(rag):
    chat = rag.chat()
    *parts, turn = chat.stream("red")
    assert "".join(parts) == turn.answer.answer
    assert chat.history == [turn]


def test_results_that_are_not_relevant_are_left_out(rag):
    red, nothing = (rag.chat(min_relevance=0.5).ask(text) for text in ("red", "a lonely elephant"))
    assert [hit.source.rsplit("/", 1)[-1] for hit in red.hits] == ["red.png"]
    assert (nothing.hits, nothing.answer.status) == ((), "not_found")


def test_greetings_are_not_looked_up(rag):
    turn = rag.chat().ask("Hello, good morning!")
    assert (turn.answer.status, turn.query, turn.hits) == ("not_a_question", "", ())


def test_a_position_selects_from_the_last_search(rag):
    chat = rag.chat(min_relevance=0)
    found = chat.ask("red")
    assert chat.ask("show me the second one").hits[0].id == found.hits[1].id
    assert chat.ask("back to the first").hits[0].id == found.hits[0].id
    assert chat.hit(1).id == found.hits[0].id
    with pytest.raises(InputError, match="there is no result 7"):
        chat.hit(7)


def test_a_position_that_does_not_exist_is_said(rag):
    chat = rag.chat()
    assert chat.ask("show me the second one").is_selection is False
    chat.ask("red")
    assert "There is no result 99: there are" in chat.ask("number 99").answer.answer


def test_more_continues_a_search_by_a_result(rag):
    chat = rag.chat(min_relevance=0, k=1)
    assert names(chat.ask("red")) == ["red.png"]
    listed = rag.search(Query([QueryPart(id=chat.hit(1).id)]), k=3)
    assert [chat.ask(text).hits for text in ("similar ones", "more", "more")] == [(hit,) for hit in listed]


def test_a_position_reads_on_in_a_search_by_a_result(rag):
    chat = rag.chat(min_relevance=0, k=1)
    chat.ask("red")
    second, third = rag.search(Query([QueryPart(id=chat.hit(1).id)]), k=3)[1:]
    chat.ask("similar ones")
    assert [chat.ask(text).hits[0].id for text in ("the second one", "the third one")] == [second.id, third.id]


def test_more_continues_a_search_by_an_image(rag):
    chat = rag.chat(k=1)
    chat.ask("", color_frame("red"))
    listed = rag.search(image=color_frame("blue"), k=9)
    found = [chat.ask("", color_frame("blue")), *(chat.ask("more") for _ in listed)]
    assert [turn.hits for turn in found] == [*((hit,) for hit in listed), ()]
    assert found[-1].answer.answer == NOTHING_MORE


def test_more_stays_in_the_source_of_a_search(rag):
    chat = rag.chat(min_relevance=0, k=1)
    chat.ask("red")
    assert names(chat.ask("only in red.png")) == ["red.png"]
    assert chat.ask("more").answer.answer == NOTHING_MORE


def test_a_restriction_repeats_a_search_by_an_image_or_a_result(rag):
    chat = rag.chat(min_relevance=0, k=9)
    chat.ask("", color_frame("blue"))
    listed = rag.search(image=color_frame("blue"), k=9, kinds={"image"})
    chat.ask("What color is the second one?")
    turn = chat.ask("only images")
    assert (turn.hits, turn.query, turn.image) == (tuple(listed), "", "")
    chat.ask("similar ones")
    listed = rag.search(Query([QueryPart(id=listed[0].id)]), k=9, kinds={"image"})
    assert chat.ask("only images").hits == tuple(listed)


def test_a_restricted_search_without_results_leaves_the_results_before_in_focus(rag):
    chat = rag.chat(min_relevance=0)
    first = chat.ask("", color_frame("blue")).hits[0]
    assert chat.ask("only videos").hits == ()
    assert chat.ask("what color is it?").hits == (first,)


@pytest.mark.parametrize("model", [None, Scripted()])
def test_a_message_reaches_no_kind_that_the_chat_leaves_out(rag, model):
    turn = rag.chat(model, kinds={"text"}, min_relevance=0).ask("red, only pictures")
    assert (turn.hits, turn.answer.status) == ((), "not_found")


def test_an_image_is_asked_about_and_stays_in_focus(rag):
    chat = rag.chat()
    turn = chat.ask("What color is the wall?", color_frame("blue"))
    assert turn.answer.answer.startswith("blue")
    assert turn.image.startswith("data:image/jpeg;base64,")
    assert chat.ask("and what color is it now?").answer.answer.startswith("blue")
    assert chat.ask("what about this picture?", color_frame("green")).answer.answer.startswith("green")


def test_a_message_needs_a_text_or_an_image(rag):
    with pytest.raises(InputError, match="the message is empty; ask a question"):
        rag.chat().ask("  ")


def test_a_chat_model_gets_the_images_of_this_turn_only(rag):
    model = Scripted("A red wall [1].", "[1.1] blue", "Blue, not red [2].")
    chat = rag.chat(model, k=2)
    first = chat.ask("red")
    assert (names(first)[0], first.citations[1].id) == ("red.png", first.hits[0].id)
    second = chat.ask("and what is the other one?")
    assert second.query == "blue"
    assert names(second)[:2] == ["red.png", "blue.png"], "the reopened image comes first"
    assert second.images[:2] == (first.hits[0].id, second.hits[1].id)
    assert len(model.images()) == len(second.images)
    assert not any(isinstance(message["content"], list) for message in model.received[-1][:-1])
    assert "A red wall [1.1]." in model.received[-1][2]["content"]


def test_images_are_within_the_budget(rag):
    model = Scripted("Red [1].")
    turn = rag.chat(model, budget=Budget(max_images=1), min_relevance=0).ask("red")
    assert len(turn.hits) > 1
    assert (len(model.images()), len(turn.images)) == (1, 1)
    assert "Its image is not shown." in model.text()


def test_parts_of_a_reply_are_streamed(rag):
    chat = rag.chat(GenericFakeChatModel(messages=iter([AIMessage("A red wall [1].")])))
    *parts, turn = chat.stream("red")
    assert len(parts) > 3
    assert "".join(parts) == turn.answer.answer == "A red wall [1]."
    assert list(turn.citations) == [1]


def test_a_model_that_fails_loses_no_turn(rag):
    chat = rag.chat(Scripted(OSError("no route\nto host"), "Red [1]."))
    with pytest.raises(ModelError, match=r"^the chat model failed \(OSError\): no route$"):
        chat.ask("red")
    assert (chat.history[0].question, chat.history[0].error) == ("red", "the chat model failed (OSError): no route")
    assert names(chat.history[0])[0] == "red.png"
    assert chat.ask("red").answer.answer == "Red [1]."


def test_a_model_that_does_not_answer_is_not_waited_for(rag):
    class Hanging:
        def invoke(self, messages):
            time.sleep(5)

    with pytest.raises(ModelError, match=r"did not answer within 0\.1 s"):
        rag.chat(Hanging(), timeout_s=0.1).ask("red")


@pytest.mark.parametrize("garbage", ["", "x" * 2000, "one\ntwo", "[1.1]"])
def test_a_reply_that_is_no_query_is_an_error(rag, garbage):
    chat = rag.chat(Scripted("Red [1].", garbage))
    chat.ask("red")
    with pytest.raises(ModelError, match="did not reply with one text to search for"):
        chat.ask("and the other?")
    assert len(chat.history) == 2


def test_a_reader_that_leaves_keeps_what_came(rag):
    chat = rag.chat(GenericFakeChatModel(messages=iter([AIMessage("A red wall [1].")])))
    stream = chat.stream("red")
    assert next(stream)
    stream.close()
    assert (chat.history[0].error, chat.history[0].answer.answer[:1]) == ("The answer was interrupted.", "A")


def test_a_saved_conversation_continues(rag, tmp_path):
    chat = rag.chat()
    chat.ask("red")
    chat.ask("What color is the wall?", color_frame("blue"))
    chat.save(tmp_path / "chat.json")
    again = rag.chat()
    again.load(tmp_path / "chat.json")
    assert [turn.question for turn in again.history] == ["red", "What color is the wall?"]
    assert [hit.id for hit in again.history[0].hits] == [hit.id for hit in chat.history[0].hits]
    assert again.ask("and what color is it now?").answer.answer.startswith("blue")


def test_a_loaded_conversation_names_no_other_files(rag, tmp_path):
    chat = rag.chat()
    chat.ask("red")
    chat.save(tmp_path / "chat.json")
    content = json.loads((tmp_path / "chat.json").read_text())
    content["turns"][0]["hits"] = ["/etc/passwd", chat.history[0].hits[0].id]
    (tmp_path / "chat.json").write_text(json.dumps(content))
    chat.load(tmp_path / "chat.json")
    assert names(chat.history[0]) == ["red.png"]


def test_a_chat_is_public():
    assert Chat.__name__ == "Chat"


def test_messages_to_a_fake_model_of_langchain(rag):
    model = FakeMessagesListChatModel(responses=[AIMessage([{"type": "text", "text": "Red [1]."}])])
    assert rag.chat(model).ask("red").answer.answer == "Red [1]."
