import asyncio
import re

import pytest
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.base.response.schema import Response


@pytest.fixture
def loop():
    """LlamaIndex makes an event loop for synchronous calls, and leaves it open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.usefixtures("loop")
def test_the_images_reach_the_model_and_are_cited(load_example, rag, capsys):
    """LlamaIndex numbers the text of an image, then the image."""
    example = load_example("llama_index_query")
    response = example.build_engine(rag, example.load_llm(None, rag), k=1).query("What color is the blue wall?")
    example.show(response)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "blue [2]"
    assert "blue.png (id " in printed[-1] and "reranker score 1.00" in printed[-1]


async def test_it_runs_async(load_example, rag):
    example = load_example("llama_index_query")
    engine = example.build_engine(rag, example.load_llm(None, rag))
    response = await engine.aquery("What color is a red wall?")
    assert str(response) in ("red [2]", "blue [4]")  # each wall has one color, so the VQA double is equally confident
    assert [node.node.image_resource is not None for node in response.source_nodes] == [False, True, False, True]


@pytest.mark.usefixtures("loop")
def test_the_message_numbers_the_images(load_example, rag):
    example = load_example("llama_index_query")
    messages = []

    def keep(given, **_):
        messages.extend(given)
        return ChatMessage(role="assistant", content="seen")

    llm = example.load_llm(None, rag)
    llm.response_generator = keep
    example.build_engine(rag, llm).query("What color is a red wall?")
    blocks = messages[-1].blocks
    kinds = [type(block) for block in blocks]
    assert kinds == [TextBlock, ImageBlock, TextBlock, ImageBlock, TextBlock]
    assert re.search(r'Source 1:.*\n\[image\] "red.png"\n.*Source 2:$', blocks[0].text, re.DOTALL)
    assert re.search(r'^Source 3:.*\n\[image\] "blue.png"\n.*Source 4:$', blocks[2].text, re.DOTALL)


def test_without_an_image_it_says_so(load_example, rag):
    llm = load_example("llama_index_query").load_llm(None, rag)
    answer = llm.chat([ChatMessage(role="user", content="Query: What?")]).message
    assert answer.content == "I do not know: there are no images."


@pytest.mark.parametrize(("answer", "numbers"), [("red [2], or blue [1][2]", [2, 1]), ("none [0] [7]", []), ("", [])])
def test_citations_are_numbers_in_brackets(load_example, answer, numbers):
    assert load_example("llama_index_query").cited(Response(answer, source_nodes=[1, 2])) == numbers


def test_an_llm_is_loaded_by_its_class_and_model(load_example, rag):
    llm = load_example("llama_index_query").load_llm("llama_index.core.llms.mock.MockFunctionCallingLLM:any", rag)
    assert type(llm).__name__ == "MockFunctionCallingLLM"


@pytest.mark.usefixtures("loop")
def test_a_folder_is_indexed_and_asked(load_example, open_untrained, image_folder, capsys):
    load_example("llama_index_query").main(
        [str(image_folder), "--db", str(image_folder / "x.db"), "--question", "What color is the wall?"]
    )
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"Source: {image_folder}")


@pytest.mark.usefixtures("loop")
def test_without_a_folder_the_demo_corpus_is_asked(load_example, open_untrained, capsys):
    load_example("llama_index_query").main([])
    source = capsys.readouterr().out.splitlines()[-1]
    assert source.startswith("Source: ") and "/photos/street-" in source


def test_help_says_how_to_name_a_model(load_example, capsys):
    with pytest.raises(SystemExit):
        load_example("llama_index_query").main(["--help"])
    assert "llama_index.llms.ollama.Ollama:qwen3-vl" in capsys.readouterr().out
