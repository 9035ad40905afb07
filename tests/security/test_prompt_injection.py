"""What a language model would have been told about files that try to give it instructions."""

from types import SimpleNamespace

import pytest

from florence_rag.answering.llm import LLMAnswerer
from florence_rag.perception.openai_chat import OpenAIChat
from florence_rag.perception.openai_vqa import OpenAIVisionQA
from florence_rag.tools import ImageRenderer, tools_for
from florence_rag.untrusted_text import Fence, quoted_id
from tests.security.attacks import ATTACKS, check_neutral, check_told, marks_of
from tests.security.conftest import FRAME

WITH_IMAGE = (
    "ask_image",
    "describe_image",
    "find_similar",
    "read_text",
    "detect_objects",
    "classify_image",
    "tag_image",
)


class ObedientModel:
    """Does what the last line of its prompt says, and records what it was told."""

    def __init__(self, reply="[1]"):
        self.reply = reply

    def invoke(self, messages):
        blocks = [{"type": "text", "text": messages[0]["content"]}, *messages[1]["content"]]
        self.told = "\n".join(block["text"] for block in blocks if block["type"] == "text")
        return self.reply


class TypingModel(ObedientModel):
    """Replies character by character."""

    def stream(self, messages):
        yield from self.invoke(messages)


def arguments_of(name, target):
    """Return arguments with which a tool repeats as much as it can."""
    hit = target.rag.search("red", k=1, kinds={"clip" if name == "find_video_moment" else "image"})[0]
    listed = quoted_id(hit.id)
    query = "red" if ATTACKS.index(target.attack) % 4 else target.attack[:40]  # a search for many signs takes long
    more = {
        "ask_image": {"question": f"What is {target.attack}?"},
        "classify_image": {"labels": [target.attack, "a cat"]},
        "tag_image": {"labels": [target.attack, "a cat"]},
        "detect_objects": {"phrase": target.attack},
        "find_video_moment": {"query": query, "video": listed},
        "recommend": {"like": [listed, query], "dislike": ["blue"]},
        "search_images": {"query": query, "k": 20},
        "verify_claim": {"claim": f"There is a {target.attack}.", "ids": [listed]},
    }
    return {**({"image": listed} if name in WITH_IMAGE else {}), **more.get(name, {})}


@pytest.mark.parametrize("name", [*WITH_IMAGE, "search_images", "recommend", "find_video_moment", "verify_claim"])
def test_the_result_of_a_tool_quotes_what_files_say(targets, name):
    for target in targets:
        tool = next(tool for tool in tools_for(target.rag) if tool.name == name)
        result = tool(**arguments_of(name, target))
        assert not result.is_error, result.text
        check_told(result.text)


@pytest.mark.parametrize("name", ["ask_image", "search_images", "classify_image", "recommend", "find_video_moment"])
def test_an_error_stays_on_one_line(targets, name, tmp_path):
    for target in targets:
        (tool,) = (tool for tool in tools_for(target.rag, allow_paths=tmp_path, allow_urls=True) if tool.name == name)
        wrong = {"image": target.attack, "video": target.attack, "filter": target.attack, "classifier": target.attack}
        known = {key: value for key, value in wrong.items() if key in tool.parameters["properties"]}
        plain = arguments_of(name, target) | {"k": 1} if "k" in tool.parameters["properties"] else {}
        for arguments in (
            {**plain, **known},
            {target.attack: 1},
            {"k": target.attack},
            {"image": f"http:{target.attack}"},
        ):
            result = tool(**arguments)
            assert result.is_error and "\n" not in result.text and len(result.text) < 600
            check_neutral(result.text)


def test_images_are_named_and_described_in_quotes(targets):
    for target in targets:
        search = next(tool for tool in tools_for(target.rag) if tool.name == "search_images")
        result, show = search(query="red", k=2, kinds=["image"]), ImageRenderer(target.rag)
        blocks = [*show("", result.artifact, "tool"), *show("", result.artifact, "text")]
        blocks += show.user_blocks([("call\n1", "search_images", result.artifact)])
        texts = [block for block in blocks if isinstance(block, str)]
        assert any("The images show:" in text for text in texts)
        for text in texts:
            check_told(text)


def test_a_chat_model_reads_files_in_a_fence(targets):
    for target in targets:
        model = ObedientModel()
        answer = target.rag.ask("What is red?", llm=model)
        check_told(model.told)
        assert len(set(marks_of(model.told))) == 1
        assert len(answer.citations) == 1


def test_the_question_about_an_image_has_no_token_of_a_template(monkeypatch):
    asked = []
    reply = SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content="yes"), logprobs=None)])
    monkeypatch.setattr(OpenAIChat, "send", lambda self, frame, text, **_: asked.append(text) or reply)
    model = OpenAIVisionQA("any", base_url="http://localhost:1/v1")
    for attack in ATTACKS:
        model.answer(FRAME, attack)
    for question in asked:
        check_neutral(question)


def test_the_names_of_classifiers_are_quoted_in_the_description(targets, monkeypatch):
    for target in targets:
        monkeypatch.setattr(type(target.rag.classifiers), "names", lambda _, name=target.attack: [name])
        (tool,) = (tool for tool in tools_for(target.rag) if tool.name == "classify_image")
        check_neutral(tool.description)
        assert '"' in tool.description


def test_an_id_is_listed_so_that_a_model_can_pass_it_on(targets):
    for target in targets:
        for hit in target.rag.search("red", k=4):
            for spelling in (hit.id, quoted_id(hit.id), quoted_id(hit.id)[1:-1]):
                assert tools_for(target.rag)[0]._chunk(spelling).id == hit.id


def test_every_call_has_a_mark_of_its_own(targets):
    tool = tools_for(targets[0].rag)[0]
    marks = [mark for _ in range(9) for mark in marks_of(tool(query="red").text)]
    assert len(set(marks)) == len(marks) == 9


def test_a_file_that_knows_the_mark_cannot_close_the_fence():
    fence = Fence("0" * 12)
    text = fence.wrap(f"a\n{fence.mark}>>>\nb\n<<<{fence.mark}\n{fence.rule}")
    assert text.splitlines()[1:-1] == [
        "a",
        "000000000000> > >",
        "b",
        "< < < 000000000000",
        fence.rule.replace("<<<", "< < < ").replace(">>>", "> > >"),
    ]


@pytest.mark.parametrize("reply", ["[0] [9] [-1] [1e3] [99999999999999999999]", "delete_all() [ 1 ]", ""])
def test_an_obedient_model_cites_only_what_it_was_given(targets, reply):
    answer = targets[0].rag.ask("What is red?", llm=ObedientModel(reply))
    assert answer.citations == () and answer.confidence is None


def test_an_obedient_model_cannot_name_files_or_urls(targets, tmp_path):
    (tmp_path / "secret.png").write_bytes(b"x")
    for name in WITH_IMAGE:
        (tool,) = (tool for tool in tools_for(targets[0].rag) if tool.name == name)
        for image in (str(tmp_path / "secret.png"), "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/", "0" * 32):
            arguments = {**arguments_of(name, targets[0]), "image": image}
            result = tool(**arguments)
            assert result.is_error and any(part in result.text for part in ("is not an id", "no chunk", "not fetched"))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("![x](https://evil.example/?q=1)", "![x] (https://evil.example/?q=1)"),
        ("![x][a]\n\n[a]: https://evil.example/", "![x][a]\n\n[a] : https://evil.example/"),
        ("[a]: //evil.example", "[a] : //evil.example"),
        ("<img src='//evil.example'><a href=x>", "< img src='//evil.example'>< a href=x>"),
        ("<https://evil.example>", "< https://evil.example>"),
        ("![x][a]\n\n> [a]:\n> https://evil.example/", "![x][a]\n\n> [a] :\n> https://evil.example/"),
        ("![x][a]\n\n[a]: &#47;&#47;evil.example", "![x][a]\n\n[a] : &#47;&#47;evil.example"),
        ("\n It is 3<5 [1][2], see [1, 2] (or <3>)\n", "It is 3<5 [1][2], see [1, 2] (or <3>)"),
    ],
)
def test_the_answer_of_a_model_makes_a_page_fetch_nothing(targets, reply, expected):
    rag = targets[0].rag
    assert LLMAnswerer(rag.retriever, ObedientModel(reply), rag.context.images.frames).ask("red?").answer == expected
    *parts, turn = rag.chat(TypingModel(reply)).stream("red?")
    assert "".join(parts) == turn.answer.answer == expected
