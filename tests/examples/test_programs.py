import sys
from io import StringIO

import pytest
from PIL import Image

from florence_rag.testing import color_frame

PROGRAMS = ("product_search", "rag_chatbot_langchain", "rag_chatbot_llama_index", "scanned_documents", "video_archive")


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_takes_a_database_and_a_model(load_example, name, capsys):
    with pytest.raises(SystemExit):
        load_example(name).main(["--help"])
    printed = capsys.readouterr().out
    assert "--db" in printed and "--model" in printed


@pytest.mark.parametrize("name", ["rag_chatbot_langchain", "rag_chatbot_llama_index"])
def test_a_chatbot_remembers(load_example, rag, name, capsys, monkeypatch):
    monkeypatch.setattr("florence_rag.retrieval.relevance.DEFAULT_MIN_RELEVANCE", 0.0)  # colors are hardly relevant
    example = load_example(name)
    chatbot = example.build_chatbot(rag, None)
    lines = ["red", "", "show me the second one"]
    example.talk(rag, chatbot, lines) if name.endswith("langchain") else example.talk(chatbot, lines)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "The best matches: [1] red.png, [2] blue.png"
    assert printed[1].startswith("  [1] ") and printed[1].endswith("red.png")
    assert printed[3].startswith('[1] [image] "blue.png"')


@pytest.mark.parametrize("name", ["rag_chatbot_langchain", "rag_chatbot_llama_index"])
def test_a_chatbot_reuses_its_database(load_example, open_untrained, image_folder, tmp_path, name, capsys, monkeypatch):
    monkeypatch.setattr("florence_rag.retrieval.relevance.DEFAULT_MIN_RELEVANCE", 0.0)  # colors are hardly relevant
    for _ in range(2):
        monkeypatch.setattr(sys, "stdin", StringIO("red\n"))
        load_example(name).main([str(image_folder), "--db", str(tmp_path / "x.db")])
        assert "The best matches: [1] " in capsys.readouterr().out


def test_products_are_found_by_text_image_and_likes(load_example, open_untrained, image_folder, tmp_path, capsys):
    main, db = load_example("product_search").main, ["--db", str(tmp_path / "x.db")]
    main([str(image_folder), *db, "--text", "red"])
    id = capsys.readouterr().out.split()[0]
    main([*db, "--like", id])
    assert len(capsys.readouterr().out.splitlines()) == 1
    query = tmp_path / "query.png"
    Image.fromarray(color_frame("green")).save(query)
    main([*db, "--image", str(query), "-k", "1", "--filter", '{"kind": "image"}'])
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.slow
def test_videos_and_documents_of_the_demo_corpus(load_example, capsys):
    load_example("video_archive").main(["When does line four set out for the harbour?"])
    assert "seven" in capsys.readouterr().out
    load_example("scanned_documents").main(["When is the Old Mill Bridge closed?"])
    printed = capsys.readouterr().out
    assert "3 to 9 September 2029" in printed and "line-4.pdf, page 2" in printed
