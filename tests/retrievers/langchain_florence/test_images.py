"""Each kind of fake chat model receives only images that it accepts (langchain #31950)."""

import base64
import io

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.testing import COLORS, color_frame
from florence_rag.tools import Budget
from langchain_florence import (
    FlorenceEmbeddings,
    FlorenceImages,
    FlorenceRetriever,
    FlorenceVectorStore,
    florence_tools,
    place_images,
)
from tests.retrievers.langchain_florence.agents import (
    PROFILES,
    converse,
    images_of,
    model_of,
    pixels_of,
    placed,
    search,
)


def test_the_mode_text_sends_no_images(rag):
    _, sent = converse(model_of(PROFILES["tool"]), rag, "text")
    assert placed(sent) == []
    assert sent[-1].content.count("The images show") == 1


@pytest.mark.parametrize("kind", ["tool", "user"])
def test_the_image_is_that_of_the_result(rag, kind):
    _, sent = converse(model_of(PROFILES[kind]), rag)
    first = next(block for message in sent for block in images_of(message))
    assert np.abs(pixels_of(first).astype(int) - COLORS["red"]).max() < 8


def test_a_tool_without_middleware_places_images_by_its_mode(rag):
    model = model_of(PROFILES["tool"])
    _, sent = converse(model, rag, "tool", middleware=False)
    assert placed(sent) == ["tool", "tool"]


def test_the_tools_can_be_made_for_a_model(rag):
    for kind, expected in (("tool", list), ("user", str), ("text", str)):
        tools = florence_tools(rag, model=model_of(PROFILES[kind]))
        assert {tool.image_mode for tool in tools} == {kind}
        assert isinstance(tools[0].invoke(search()).content, expected)


@pytest.mark.parametrize("mode", ["auto", "user"])
def test_without_middleware_no_model_is_sent_what_it_refuses(rag, mode):
    _, sent = converse(model_of(None), rag, mode, middleware=False)
    assert placed(sent) == []


def test_results_of_one_turn_stay_together(rag):
    """Providers refuse a user message between two results of one turn."""
    turn = [search("1"), search("2", "blue")]
    _, sent = converse(model_of(PROFILES["user"], turn), rag)
    assert [message.type for message in sent] == ["human", "ai", "tool", "tool", "human"]
    texts = [block["text"] for block in sent[-1].content if block["type"] == "text"]
    assert [text for text in texts if text.startswith("Images of the call")] == [
        "Images of the call 1 of search_images:",
        "Images of the call 2 of search_images:",
    ]


def test_older_results_keep_their_text_only(rag):
    turns = [[search(str(number))] for number in range(3)]
    _, sent = converse(model_of(PROFILES["tool"], *turns), rag, newest=1)
    results = [message for message in sent if isinstance(message, ToolMessage)]
    assert [len(images_of(message)) for message in results] == [0, 0, 2]
    for text in (results[0].content, results[2].content[0]["text"]):
        assert text.startswith('2 results for "red red blue", best first:')


@pytest.mark.parametrize("kind", ["tool", "user"])
def test_beyond_the_budget_one_contact_sheet_replaces_all_images(rag, kind):
    turn = [search(k=9, kinds=["image", "clip"])]
    messages, sent = converse(model_of(PROFILES[kind], turn), rag, budget=Budget(max_images=2, max_tokens=200))
    (sheet,) = [block for message in sent for block in images_of(message)]
    height, width, _ = pixels_of(sheet).shape
    assert height * width <= 200 * 750
    (artifact,) = [message.artifact for message in messages if isinstance(message, ToolMessage)]
    assert [image["id"] for image in artifact["images"]] == [hit["id"] for hit in artifact["hits"]]


def test_a_call_that_failed_has_no_images(rag):
    _, sent = converse(model_of(PROFILES["tool"], [search(k=99)]), rag)
    assert placed(sent) == []
    assert "k is 99" in sent[-1].content


def test_messages_are_placed_without_an_agent(rag):
    result = florence_tools(rag)[0].invoke(search())
    mine = [HumanMessage("?"), AIMessage("", tool_calls=[search()]), result, AIMessage("so")]
    shown = place_images(mine, rag, "user")
    assert [message.type for message in shown] == ["human", "ai", "tool", "human", "ai"]
    assert mine[2] is result and isinstance(result.content, str)
    assert place_images(shown, rag, model_of(PROFILES["tool"]))[2].content[0]["text"] == result.content


def test_messages_of_other_tools_do_not_change(rag):
    others = [ToolMessage("x", tool_call_id="1", artifact=artifact) for artifact in (None, {"images": 3}, {"a": 1})]
    assert place_images(others, rag, "tool") == others


def test_an_unknown_mode_is_refused(rag):
    for make in (florence_tools, FlorenceImages):
        with pytest.raises(InputError, match="one of auto, tool, user, text"):
            make(rag, image_mode="images")


def encoded_image(color):
    buffer = io.BytesIO()
    Image.fromarray(color_frame(color)).save(buffer, "PNG")
    return buffer.getvalue()


RED = base64.b64encode(encoded_image("red")).decode()


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "base64": RED, "mime_type": "image/png"},
        {"type": "image", "url": f"data:image/png;base64,{RED}"},
        {"type": "image", "source_type": "base64", "data": RED, "mime_type": "image/png"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{RED}"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": RED}},
    ],
)
def test_a_content_block_is_an_image_at_every_door(rag, block):
    embeddings = FlorenceEmbeddings(rag=rag)
    assert embeddings.embed_images([block]) == embeddings.embed_images([encoded_image("red")])
    best = FlorenceRetriever(rag=rag, kinds={"image"}).invoke("", image=block)[0]
    assert best.metadata["source"].endswith("red.png")
    store = FlorenceVectorStore(rag)
    assert store.similarity_search_by_image(block, 1, kinds={"image"})[0].metadata["source"].endswith("red.png")
    with pytest.raises(InputError, match="no folder for images without a file"):
        store.add_images([block])


def test_a_content_block_without_an_image_says_so(rag):
    with pytest.raises(InputError, match="a dict is not an image"):
        FlorenceEmbeddings(rag=rag).embed_images([{"type": "text", "text": "red"}])
