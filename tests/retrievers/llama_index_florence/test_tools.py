import json

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools import FunctionTool, ToolMetadata

from llama_index_florence import FlorenceSearchTool, FlorenceToolSpec, VQATool


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
    assert len(await FlorenceToolSpec(rag).to_tool_list_async()) == 7


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
    assert str(response).startswith("blue (confidence 1.00)")
    assert [call.tool_output.is_error for call in response.tool_calls] == [True, False]
