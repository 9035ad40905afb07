import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from florence_rag.errors import InputError
from langchain_florence import FlorenceSearchTool, VQATool, florence_tools


class VQA:
    @pytest.fixture(autouse=True)
    def _open(self, rag):
        self.rag = rag

    @property
    def tool_constructor(self):
        return VQATool

    @property
    def tool_constructor_params(self):
        return {"rag": self.rag}

    @property
    def tool_invoke_params_example(self):
        hit = self.rag.search("blue", k=1, kinds={"image"})[0]
        return {"image": hit.id, "question": "What color is it?"}


class Search:
    @pytest.fixture(autouse=True)
    def _open(self, rag):
        self.rag = rag

    @property
    def tool_constructor(self):
        return FlorenceSearchTool

    @property
    def tool_constructor_params(self):
        return {"rag": self.rag}

    @property
    def tool_invoke_params_example(self):
        return {"query": "a red bus"}


class TestVQAUnitSuite(VQA, ToolsUnitTests): ...


class TestVQAIntegrationSuite(VQA, ToolsIntegrationTests): ...


class TestSearchUnitSuite(Search, ToolsUnitTests): ...


class TestSearchIntegrationSuite(Search, ToolsIntegrationTests): ...


def test_all_tools_are_langchain_tools(rag):
    assert all(isinstance(tool, BaseTool) for tool in florence_tools(rag))


def test_without_a_tool_call_the_text_comes_back(rag):
    hit = rag.search("blue", k=1, kinds={"image"})[0]
    text = VQATool(rag=rag).invoke({"image": hit.id, "question": "What color?"})
    assert text.startswith('"blue" (confidence 1.00)')


def test_a_search_takes_a_plain_string(rag):
    assert FlorenceSearchTool(rag=rag).invoke("a red bus").startswith('3 results for "a red bus"')


def test_name_and_prompt_can_be_replaced(rag):
    tool = VQATool(rag=rag, name="look", description="Look at it.")
    assert (tool.name, tool.description) == ("look", "Look at it.")


def test_a_misspelled_setting_is_an_error(rag):
    with pytest.raises(InputError, match="allowed_paths"):
        VQATool(rag=rag, allowed_paths="photos")


def test_serialization_holds_no_index(rag):
    assert "tool=" not in repr(VQATool(rag=rag))
    assert "tool" not in VQATool(rag=rag).model_dump()
