import pytest
from langchain_core.messages import HumanMessage, SystemMessage


def test_the_images_reach_the_model_and_are_cited(load_example, rag, capsys):
    example = load_example("langchain_rag")
    found = example.build_chain(rag, example.ScriptedModel(answer_image=rag.ask_image)).invoke("Is the wall blue?")
    assert found["question"] == "Is the wall blue?"
    assert found["answer"] in ("blue [1]", "red [2]")  # each wall has one color, so the VQA double is equally confident
    example.show(found)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == found["answer"]
    assert printed[-1].startswith("Source: ") and "blue.png (id " in printed[-1]


async def test_it_runs_async(load_example, rag):
    example = load_example("langchain_rag")
    found = await example.build_chain(rag, example.ScriptedModel(answer_image=rag.ask_image), k=1).ainvoke(
        "Is a wall red?"
    )
    assert found["answer"] == "red [1]"


def test_the_message_holds_images_as_standard_blocks(load_example, rag):
    example = load_example("langchain_rag")
    found = example.build_chain(rag, example.ScriptedModel(answer_image=rag.ask_image)).invoke("Is it a wall?")
    system, user = example.to_messages(found)
    assert isinstance(system, SystemMessage) and isinstance(user, HumanMessage)
    kinds = [block["type"] for block in user.content_blocks]
    assert kinds == ["text", "image", "text", "image", "text"]


def test_without_an_image_it_says_so(load_example, rag):
    example = load_example("langchain_rag")
    model = example.ScriptedModel(answer_image=rag.ask_image)
    messages = example.to_messages({"question": "What?", "documents": []})
    assert model.invoke(messages).text == "I do not know: there are no images."


@pytest.mark.parametrize(("answer", "numbers"), [("red [2], or blue [1][2]", [2, 1]), ("none [0] [7]", []), ("", [])])
def test_citations_are_numbers_in_brackets(load_example, answer, numbers):
    assert load_example("langchain_rag").cited(answer, [1, 2]) == numbers


def test_a_folder_is_indexed_and_asked(load_example, open_untrained, image_folder, capsys):
    load_example("langchain_rag").main(
        [str(image_folder), "--db", str(image_folder / "x.db"), "--question", "What color is the wall?"]
    )
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"Source: {image_folder}")


def test_without_a_folder_the_demo_corpus_is_asked(load_example, open_untrained, capsys):
    load_example("langchain_rag").main([])
    source = capsys.readouterr().out.splitlines()[-1]
    assert source.startswith("Source: ") and "/photos/street-" in source


def test_help_says_how_to_name_a_model(load_example, capsys):
    with pytest.raises(SystemExit):
        load_example("langchain_rag").main(["--help"])
    assert "--model openai:gpt-5-mini" in capsys.readouterr().out
