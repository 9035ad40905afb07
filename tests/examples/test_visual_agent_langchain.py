import pytest
from langchain_core.messages import AIMessage, ToolMessage


def test_the_agent_searches_asks_and_answers(load_example, rag, capsys):
    example = load_example("visual_agent_langchain")
    messages = example.run_agent(rag, "What color is the blue wall?", example.ScriptedModel())
    assert [message.name for message in messages if isinstance(message, ToolMessage)] == ["search_images", "ask_image"]
    assert isinstance(messages[-1], AIMessage)
    assert messages[-1].text.startswith('"blue" (confidence 1.00)')
    example.show(messages)
    printed = capsys.readouterr().out
    assert "-> search_images(query='What color is the blue wall?'" in printed
    assert "-> ask_image(image='" in printed
    assert "blue.png (id " in printed.splitlines()[-1]


def test_a_folder_is_indexed_and_asked(load_example, open_untrained, image_folder, capsys):
    load_example("visual_agent_langchain").main(
        [str(image_folder), "--db", str(image_folder / "x.db"), "--question", "What color is the wall?"]
    )
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"Source: {image_folder}")


def test_without_a_folder_the_demo_corpus_is_asked(load_example, open_untrained, capsys):
    load_example("visual_agent_langchain").main([])
    source = capsys.readouterr().out.splitlines()[-1]
    assert source.startswith("Source: ") and "/photos/street-" in source


def test_help_says_how_to_name_a_model(load_example, capsys):
    with pytest.raises(SystemExit):
        load_example("visual_agent_langchain").main(["--help"])
    assert "--model openai:gpt-5-mini" in capsys.readouterr().out
