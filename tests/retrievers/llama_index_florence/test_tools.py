import io
import json

import numpy as np
import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, LLMMetadata, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools import FunctionTool, ToolMetadata
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.testing import COLORS
from florence_rag.tools import Budget
from llama_index_florence import FlorenceSearchTool, FlorenceToolSpec, ImageAgent, VQATool, image_mode_for

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")


def test_the_spec_gives_all_tools_or_the_named_ones(rag):
    spec = FlorenceToolSpec(rag)
    names = [
        "search_images",
        "ask_image",
        "find_similar",
        "classify_image",
        "tag_image",
        "recommend",
        "find_video_moment",
        "verify_claim",
    ]
    assert [tool.metadata.name for tool in spec.to_tool_list()] == names
    assert [tool.metadata.name for tool in spec.to_tool_list(["ask_image"])] == ["ask_image"]
    assert all(isinstance(tool, FunctionTool) for tool in spec.to_tool_list())


def test_the_spec_names_what_the_index_cannot_serve(rag):
    with pytest.raises(AttributeError, match="has no tool 'describe_image'; it has search_images"):
        FlorenceToolSpec(rag).to_tool_list(["describe_image"])


def test_a_spec_has_its_tools_as_functions(rag):
    assert FlorenceToolSpec(rag).ask_image.name == "ask_image"


async def test_the_spec_gives_its_tools_async(rag):
    assert len(await FlorenceToolSpec(rag).to_tool_list_async()) == 8


def test_metadata_can_be_replaced(rag):
    mine = ToolMetadata(name="look", description="Look at it.")
    tool = FlorenceToolSpec(rag).to_tool_list(["ask_image"], {"ask_image": mine})[0]
    assert tool.metadata is mine


def test_positional_arguments_are_taken(rag):
    assert len(FlorenceSearchTool(rag)("red", 2).raw_output["hits"]) == 2


def test_the_output_is_json(rag):
    output = FlorenceSearchTool(rag).call(query="red")
    assert json.loads(output.model_dump_json())["raw_output"] == output.raw_output
    assert output.tool_name == "search_images"
    assert output.raw_input["kwargs"] == {"query": "red"}


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")  # of LlamaIndex's own agents
async def test_an_agent_corrects_itself_after_a_bad_call(rag):
    """The scripted model passes a file name first, reads the error, and passes the id."""
    hit = rag.search("blue", k=1, kinds={"image"})[0]

    def call(image):
        arguments = {"image": image, "question": "What color?"}
        return ChatMessage(
            role="assistant", blocks=[ToolCallBlock(tool_call_id=image, tool_name="ask_image", tool_kwargs=arguments)]
        )

    def script(messages, **_):
        last = messages[-1].content or ""
        if messages[-1].role == "user":
            return call("blue.png")
        return call(hit.id) if "is not an id" in last else ChatMessage(role="assistant", content=last)

    llm = MockFunctionCallingLLM(response_generator=script)
    agent = FunctionAgent(tools=[VQATool(rag)], llm=llm, streaming=False)
    response = await agent.run("What color is the wall?")
    assert str(response).startswith('"blue" (confidence 1.00)')
    assert [call.tool_output.is_error for call in response.tool_calls] == [True, False]


# Each kind of fake LLM receives only images that it accepts (llama_index #19091).


class SeeingMetadata(LLMMetadata):
    image_inputs: bool = False
    image_tool_message: bool = False


class Model(MockFunctionCallingLLM):
    """Makes the scripted calls and records the messages. `sees` are the fields that its metadata declare, if any."""

    sees: dict | None = None

    @property
    def metadata(self):
        known = {"is_function_calling_model": True, "is_chat_model": True}
        return LLMMetadata(**known) if self.sees is None else SeeingMetadata(**known, **self.sees)


def search(id="1", query="red red blue", **arguments):
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
async def test_auto_follows_what_the_llm_declares(rag, sees, roles):
    _, sent = await converse(rag, sees)
    assert placed(sent) == roles
    text = next(message.content for message in sent if message.role == "tool")
    assert ('The images show:\n1. "asked' in text) == (sees is None)


@pytest.mark.parametrize(("mode", "roles"), [("tool", ["tool"] * 2), ("user", ["user"] * 2), ("text", [])])
async def test_an_explicit_mode_takes_precedence(rag, mode, roles):
    _, sent = await converse(rag, None, image_mode=mode)
    assert placed(sent) == roles


async def test_a_plain_agent_shows_the_images_of_the_tool_output(rag):
    _, sent = await converse(rag, None, agent=FunctionAgent, image_mode="tool")
    assert placed(sent) == ["tool", "tool"]


@pytest.mark.parametrize("mode", ["auto", "user", "text"])
async def test_a_plain_agent_sends_no_images_in_other_modes(rag, mode):
    _, sent = await converse(rag, None, agent=FunctionAgent, image_mode=mode)
    assert placed(sent) == []


async def test_the_image_is_that_of_the_result(rag):
    _, sent = await converse(rag, None, image_mode="user")
    assert np.abs(images_of(sent)[0].astype(int) - COLORS["red"]).max() < 8


async def test_results_of_one_step_stay_together(rag):
    _, sent = await converse(rag, None, [search("1"), search("2", "blue")], image_mode="user")
    assert [message.role.value for message in sent] == ["user", "assistant", "tool", "tool", "user"]
    texts = [block.text for block in sent[-1].blocks if not isinstance(block, ImageBlock)]
    assert sorted(text for text in texts if text.startswith("Images of the call")) == [  # both run at once
        "Images of the call 1 of search_images:",
        "Images of the call 2 of search_images:",
    ]


async def test_beyond_the_budget_one_contact_sheet_replaces_all_images(rag):
    turn = [search(k=9, kinds=["image", "clip"])]
    budget = Budget(max_images=2, max_tokens=200)
    output, sent = await converse(rag, None, turn, image_mode="user", budget=budget)
    (sheet,) = images_of(sent)
    assert sheet.shape[0] * sheet.shape[1] <= 200 * 750
    raw = output.tool_calls[0].tool_output.raw_output
    assert [image["id"] for image in raw["images"]] == [hit["id"] for hit in raw["hits"]]


async def test_a_call_that_failed_has_no_images(rag):
    _, sent = await converse(rag, {"image_inputs": True, "image_tool_message": True}, [search(k=99)])
    assert placed(sent) == []
    assert "k is 99" in sent[-1].content


def test_a_spec_can_be_made_for_an_llm(rag):
    llm, _ = model_of({"image_inputs": True, "image_tool_message": True})
    assert image_mode_for(llm) == "tool"
    output = FlorenceToolSpec(rag, llm=llm).to_tool_list()[0].call(query="red", kinds=["image"], k=1)
    assert [type(block).__name__ for block in output.blocks] == ["TextBlock", "TextBlock", "ImageBlock"]
    assert output.content.startswith('1 result for "red"')


def test_the_image_block_is_a_jpeg(rag):
    output = FlorenceToolSpec(rag, image_mode="tool").to_tool_list()[0].call(query="red", kinds=["image"], k=1)
    (block,) = [block for block in output.blocks if isinstance(block, ImageBlock)]
    assert block.image_mimetype == "image/jpeg"
    assert Image.open(io.BytesIO(block.resolve_image().read())).format == "JPEG"


def test_an_unknown_mode_is_refused(rag):
    with pytest.raises(InputError, match="one of auto, tool, user, text"):
        FlorenceToolSpec(rag, image_mode="images")
