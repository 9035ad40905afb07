import pytest

from florence_rag.tools import Recommend


def id_of(rag, name):
    return next(hit.id for hit in rag.index.find(kinds={"image"}) if hit.source.endswith(name))


def test_liked_examples_are_ids_and_phrases(rag):
    result = Recommend(rag)(like=[id_of(rag, "blue.png"), "a red wall"], kinds=["image"], k=2)
    assert result.text.startswith("2 recommendations, best first:\nText between ")
    sources = [hit["source"] for hit in result.artifact["hits"]]
    assert sources[0].endswith("red.png") and not any(source.endswith("/blue.png") for source in sources)
    assert [image.number for image in result.images] == [1, 2]


def test_nothing_is_left_if_all_was_seen(rag):
    seen = [hit.id for hit in rag.index.find()]
    result = Recommend(rag)(like=["red"], seen=seen)
    assert result.artifact == {"hits": []} and "nothing else" in result.text


@pytest.mark.parametrize("name", ["/etc/passwd", "red.png", "../red.png"])
def test_an_agent_names_no_files(rag, folder, name, monkeypatch):
    monkeypatch.chdir(folder)
    result = Recommend(rag)(like=[name], kinds=["image"])
    assert (not result.is_error and 'similar to "' in result.artifact["hits"][0]["explanation"]) or result.artifact[
        "hits"
    ]
    assert len(result.artifact["hits"]) == 3  # as words, which exclude nothing
