import asyncio

import pytest
from llama_index.core.llms.mock import MockLLM

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")  # of LlamaIndex


def test_the_agent_searches_asks_and_answers(load_example, rag, capsys):
    example = load_example("visual_agent_llama_index")
    output = asyncio.run(example.run_agent(rag, "What color is the blue wall?", example.load_llm(None)))
    assert [call.tool_name for call in output.tool_calls] == ["search_images", "ask_image"]
    assert str(output).startswith('"blue" (confidence 1.00)')
    example.show(output)
    printed = capsys.readouterr().out
    assert "-> search_images(query='What color is the blue wall?'" in printed
    assert "blue.png (id " in printed.splitlines()[-1]


def test_an_llm_is_loaded_by_its_class_and_model(load_example):
    llm = load_example("visual_agent_llama_index").load_llm("llama_index.core.llms.mock.MockFunctionCallingLLM:any")
    assert not isinstance(llm, MockLLM)
    assert type(llm).__name__ == "MockFunctionCallingLLM"


def test_a_folder_is_indexed_and_asked(load_example, open_untrained, image_folder, capsys):
    load_example("visual_agent_llama_index").main(
        [str(image_folder), "--db", str(image_folder / "x.db"), "--question", "What color is the wall?"]
    )
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"Source: {image_folder}")


def test_without_a_folder_the_demo_corpus_is_asked(load_example, open_untrained, capsys):
    load_example("visual_agent_llama_index").main([])
    source = capsys.readouterr().out.splitlines()[-1]
    assert source.startswith("Source: ") and "/photos/street-" in source


def test_help_says_how_to_name_a_model(load_example, capsys):
    with pytest.raises(SystemExit):
        load_example("visual_agent_llama_index").main(["--help"])
    assert "llama_index.llms.ollama.Ollama:qwen3" in capsys.readouterr().out
