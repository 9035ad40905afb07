"""Pictures in front of fake LLMs of every kind (llama_index #19091): what each is sent is what it can take."""

import io

import numpy as np
import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, LLMMetadata, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.testing import COLORS
from florence_rag.tools import Budget
from llama_index_florence import FlorenceToolSpec, ImageAgent, image_mode_for

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")


class SeeingMetadata(LLMMetadata):
    image_inputs: bool = False
    image_tool_message: bool = False


class Model(MockFunctionCallingLLM):
    """Calls what it is scripted to call, and keeps what it was sent. sees: what its metadata say, if anything."""

    sees: dict | None = None

    @property
    def metadata(self):
        known = {"is_function_calling_model": True, "is_chat_model": True}
        return LLMMetadata(**known) if self.sees is None else SeeingMetadata(**known, **self.sees)


def search(id="1", query="red", **arguments):
    arguments = {"query": query, "kinds": ["image"], "k": 2, **arguments}
    return ToolCallBlock(tool_call_id=id, tool_name="search_images", tool_kwargs=arguments)


def model_of(sees=None, *turns):
    sent, replies = [], iter(turns or [[search()]])

    def script(messages, **_):
        sent.append(list(messages))
        calls = next(replies, None)
        if calls is None:
            return ChatMessage(role="assistant", content="done")
        return ChatMessage(role="assistant", blocks=calls)

    llm = Model(response_generator=script)
    llm.sees = sees
    return llm, sent


def placed(messages):
    return [str(m.role.value) for m in messages for block in m.blocks if isinstance(block, ImageBlock)]


def images_of(messages):
    blocks = [block for message in messages for block in message.blocks if isinstance(block, ImageBlock)]
    return [np.asarray(Image.open(block.resolve_image())) for block in blocks]


async def converse(rag, sees=None, *turns, agent=ImageAgent, **settings):
    llm, sent = model_of(sees, *turns)
    tools = FlorenceToolSpec(rag, **settings).to_tool_list()
    output = await agent(tools=tools, llm=llm, streaming=False).run("What is red?")
    return output, sent[-1]


@pytest.mark.parametrize(
    ("sees", "roles"),
    [
        (None, []),
        ({"image_inputs": True}, ["user", "user"]),
        ({"image_inputs": True, "image_tool_message": True}, ["tool", "tool"]),
    ],
)
async def test_auto_goes_by_what_the_llm_says(rag, sees, roles):
    _, sent = await converse(rag, sees)
    assert placed(sent) == roles
    told = next(message.content for message in sent if message.role == "tool")
    assert ("The images show:\n1. <<< asked" in told) == (sees is None)


@pytest.mark.parametrize(("pictures", "roles"), [("tool", ["tool"] * 2), ("user", ["user"] * 2), ("text", [])])
async def test_the_setting_wins(rag, pictures, roles):
    _, sent = await converse(rag, None, image_mode=pictures)
    assert placed(sent) == roles


async def test_a_plain_agent_shows_what_the_tool_puts_into_its_output(rag):
    _, sent = await converse(rag, None, agent=FunctionAgent, image_mode="tool")
    assert placed(sent) == ["tool", "tool"]


@pytest.mark.parametrize("pictures", ["auto", "user", "text"])
async def test_a_plain_agent_sends_no_pictures_otherwise(rag, pictures):
    _, sent = await converse(rag, None, agent=FunctionAgent, image_mode=pictures)
    assert placed(sent) == []


async def test_the_picture_is_the_one_that_was_found(rag):
    _, sent = await converse(rag, None, image_mode="user")
    assert np.abs(images_of(sent)[0].astype(int) - COLORS["red"]).max() < 8


async def test_results_of_one_step_stay_together(rag):
    _, sent = await converse(rag, None, [search("1"), search("2", "blue")], image_mode="user")
    assert [message.role.value for message in sent] == ["user", "assistant", "tool", "tool", "user"]
    told = [block.text for block in sent[-1].blocks if not isinstance(block, ImageBlock)]
    assert sorted(text for text in told if text.startswith("Images of the call")) == [  # both run at once
        "Images of the call 1 of search_images:",
        "Images of the call 2 of search_images:",
    ]


async def test_past_the_budget_one_sheet_stands_for_all(rag):
    turn = [search(k=9, kinds=["image", "clip"])]
    budget = Budget(max_images=2, max_tokens=200)
    output, sent = await converse(rag, None, turn, image_mode="user", budget=budget)
    (sheet,) = images_of(sent)
    assert sheet.shape[0] * sheet.shape[1] <= 200 * 750
    raw = output.tool_calls[0].tool_output.raw_output
    assert [picture["id"] for picture in raw["images"]] == [hit["id"] for hit in raw["hits"]]


async def test_a_call_that_failed_has_no_pictures(rag):
    _, sent = await converse(rag, {"image_inputs": True, "image_tool_message": True}, [search(k=0)])
    assert placed(sent) == []
    assert "k is 0" in sent[-1].content


def test_a_spec_can_be_made_for_an_llm(rag):
    llm, _ = model_of({"image_inputs": True, "image_tool_message": True})
    assert image_mode_for(llm) == "tool"
    output = FlorenceToolSpec(rag, llm=llm).to_tool_list()[0].call(query="red", kinds=["image"], k=1)
    assert [type(block).__name__ for block in output.blocks] == ["TextBlock", "TextBlock", "ImageBlock"]
    assert output.content.startswith("1 result for 'red'")


def test_the_image_block_is_a_jpeg(rag):
    output = FlorenceToolSpec(rag, image_mode="tool").to_tool_list()[0].call(query="red", kinds=["image"], k=1)
    (block,) = [block for block in output.blocks if isinstance(block, ImageBlock)]
    assert block.image_mimetype == "image/jpeg"
    assert Image.open(io.BytesIO(block.resolve_image().read())).format == "JPEG"


def test_a_way_that_does_not_exist_is_refused(rag):
    with pytest.raises(InputError, match="one of auto, tool, user, text"):
        FlorenceToolSpec(rag, image_mode="images")
