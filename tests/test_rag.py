import io
import os

import pytest
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from PIL import Image

from florence_rag.answering.vqa_answerer import UNKNOWN, AnsweringConfig
from florence_rag.context import Models
from florence_rag.errors import InputError, MediaError, ModelError
from florence_rag.ingest.engine import IngestConfig
from florence_rag.rag import FlorenceRAG
from florence_rag.retrieval.config import RetrievalConfig
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, ScriptedReader, color_frame
from florence_rag.viz import thumbnail_of


def save(path, *colors):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(color_frame(*colors, size_px=64)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Return a folder with two images in subfolders, a broken image, and a text."""
    save(tmp_path / "in" / "red.png", "red")
    save(tmp_path / "in" / "deep" / "blue.png", "blue")
    (tmp_path / "in" / "broken.jpg").write_text("this is no image")
    (tmp_path / "in" / "note.txt").write_text("The night bus leaves the harbor at ten. A dog sleeps.")
    (tmp_path / "in" / "data.bin").write_bytes(b"\0")
    return tmp_path / "in"


@pytest.fixture
def rag():
    models = Models.of(ColorEmbedder(), vqa=ColorVQA())
    return FlorenceRAG(MemoryIndex(ColorEmbedder.info), models, ingest=IngestConfig(threads=1))


@pytest.fixture
def filled(rag, folder):
    rag.add(folder)
    return rag


def files(hits):
    return [os.path.basename(hit.source) for hit in hits]


def counts(report):
    return (report.added, report.updated, report.unchanged, report.removed, len(report.failed))


def test_a_folder_is_indexed_and_the_bad_file_is_named(rag, folder):
    report = rag.add(folder)
    assert counts(report) == (3, 0, 0, 0, 1)
    (failure,) = report.failed
    assert failure.source == str(folder / "broken.jpg")
    assert "\n" not in failure.reason and failure.reason
    assert rag.index.failures() == report.failed
    assert rag.info().sources == 3


def test_a_second_run_changes_nothing(filled, folder):
    assert counts(filled.add(folder)) == (0, 0, 3, 0, 1)


def test_what_changed_is_updated_and_what_was_mended_is_added(filled, folder):
    save(folder / "red.png", "green", "black")
    save(folder / "broken.jpg", "yellow")
    assert counts(filled.add(folder)) == (1, 1, 2, 0, 0)
    assert files(filled.search("green", k=1)) == ["red.png"]
    assert files(filled.search("yellow", k=1)) == ["broken.jpg"]
    assert filled.index.failures() == ()


def test_a_file_that_broke_since_is_no_longer_found(filled, folder):
    (folder / "red.png").write_bytes(b"")
    report = filled.add(folder)
    assert counts(report) == (0, 0, 2, 0, 2)
    assert "red.png" not in files(filled.search("red"))


def test_a_touched_file_is_unchanged(filled, folder):
    os.utime(folder / "red.png", (1, 1))
    assert counts(filled.add(folder)) == (0, 0, 3, 0, 1)


def test_what_is_gone_is_forgotten_only_on_request_and_only_below_the_paths(filled, folder):
    (folder / "red.png").unlink()
    (folder / "deep" / "blue.png").unlink()
    assert counts(filled.add(folder)) == (0, 0, 1, 0, 1)
    with pytest.raises(InputError):
        filled.add(folder / "deep")
    assert counts(filled.add(folder / "deep", prune=True)) == (0, 0, 0, 1, 0)
    assert counts(filled.add(folder, prune=True)) == (0, 0, 1, 1, 1)
    assert files(filled.search("red")) == ["note.txt"]


def test_the_failure_of_a_file_that_is_gone_is_forgotten_too(filled, folder):
    (folder / "broken.jpg").unlink()
    assert counts(filled.add(folder)) == (0, 0, 3, 0, 0)
    assert len(filled.index.failures()) == 1
    assert counts(filled.add(folder, prune=True)) == (0, 0, 3, 0, 0)
    assert filled.index.failures() == ()


def test_what_lies_in_a_folder_that_cannot_be_read_is_not_gone(filled, folder, monkeypatch):
    (folder / "red.png").unlink()
    (folder / "note.txt").unlink()
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refused)
    report = filled.add(folder, prune=True)
    assert report.removed == 2
    assert [os.path.basename(uri) for uri in filled.index.sources()] == ["blue.png"]


def test_an_empty_folder_says_what_is_supported(rag, tmp_path):
    with pytest.raises(InputError, match=r"nothing to index in '.*'; supported are .*\.jpg.*\.mp4.*\.pdf"):
        rag.add(tmp_path)


def test_a_missing_path_is_refused(rag, tmp_path):
    with pytest.raises(InputError, match="missing"):
        rag.add(tmp_path / "missing")


def test_single_files_may_be_named(rag, folder):
    assert counts(rag.add(folder / "red.png", folder / "note.txt")) == (2, 0, 0, 0, 0)


def test_progress_ends_with_all_files(rag, folder):
    steps = []
    rag.add(folder, progress=steps.append)
    assert (steps[-1].files_done, steps[-1].files_total, steps[-1].failures) == (4, 4, 1)


def test_an_interrupted_run_is_completed_by_the_next(rag, folder):
    for i in range(20):
        save(folder / f"{i:02}.png", "red")

    def interrupted(step):
        if step.files_done > 4:
            raise KeyboardInterrupt

    stopped = FlorenceRAG(rag.index, rag.models.embedder, ingest=IngestConfig(batch_size=4))
    with pytest.raises(KeyboardInterrupt):
        stopped.add(folder, progress=interrupted)
    report = rag.add(folder)
    assert 0 < report.unchanged < 20
    assert (report.added + report.unchanged, rag.info().sources, rag.info().chunks["image"]) == (23, 23, 22)


def test_search_takes_text_paths_bytes_and_pixels(filled, folder):
    path = folder / "deep" / "blue.png"
    for image in (
        path,
        str(path),
        path.read_bytes(),
        io.BytesIO(path.read_bytes()),
        Image.open(path),
        color_frame("blue"),
    ):
        assert files(filled.search(image=image, k=1)) == ["blue.png"]
    assert files(filled.search("red", k=1)) == ["red.png"]
    assert files(filled.search("sleeping dogs", kinds={"text"})) == ["note.txt"]


def test_ask_answers_from_a_picture(filled):
    answer = filled.ask("Which thing is blue?")
    assert (answer.answer, files(answer.citations)) == ("blue", ["blue.png"])
    assert answer.confidence > 0.99


def test_ask_quotes_a_passage(filled):
    answer = filled.ask("When does the night bus leave the harbor?")
    assert answer.answer == "The night bus leaves the harbor at ten."
    assert files(answer.citations) == ["note.txt"]


def test_ask_admits_that_it_does_not_know(rag, folder):
    rag.add(folder / "red.png")
    assert rag.ask("Which thing is blue?", min_relevance=0.0).answer == UNKNOWN


def test_ask_about_one_image_uses_no_other(filled, folder):
    answer = filled.ask("Which thing is blue?", image=folder / "red.png")
    assert (answer.answer, answer.confidence) == ("red", 1.0)
    (citation,) = answer.citations
    assert (citation.id, citation.source, citation.kind) == ("", str(folder / "red.png"), "image")
    assert thumbnail_of(filled, citation)  # it has no id, so the citation carries a thumbnail
    assert filled.ask("What is it?", image=filled.search("red", k=1)[0].id).citations[0].thumbnail == ""


def test_a_chat_model_answers_from_the_hits(filled):
    model = FakeMessagesListChatModel(responses=[AIMessage("A bus [1].")])
    answer = filled.ask("When does the night bus leave the harbor?", llm=model, kinds={"text"})
    assert (answer.answer, answer.confidence, files(answer.citations)) == ("A bus [1].", None, ["note.txt"])


def test_a_chat_model_answers_about_one_picture(filled, folder):
    model = FakeMessagesListChatModel(responses=[AIMessage("Red [1].")])
    answer = filled.ask("What color?", llm=model, image=folder / "red.png")
    assert [citation.source for citation in answer.citations] == [str(folder / "red.png")]
    assert thumbnail_of(filled, answer.citations[0])


def test_a_chat_model_that_does_not_exist_is_named(filled):
    with pytest.raises(ModelError, match="nonsense"):
        filled.ask("What color?", llm="nonsense")


def test_answer_about_takes_pictures_and_ids(filled, folder):
    hit = filled.search("red", k=1)[0]
    assert filled.ask_image(hit.id, "What color?").answer == "red"
    assert filled.ask_image(folder / "deep" / "blue.png", "What color?").answer == "blue"
    assert filled.ask_image(color_frame("green"), "What color?").answer == "green"


def test_answer_about_says_why_an_id_has_no_picture(filled):
    passage = filled.search("dog", kinds={"text"})[0]
    with pytest.raises(InputError, match="passage of text"):
        filled.ask_image(passage.id, "What color?")
    with pytest.raises(InputError, match="no chunk has the id 'ffff"):
        filled.ask_image("f" * 32, "What color?")


@pytest.mark.parametrize("ask", ["ask", "ask_image"])
def test_an_empty_question_is_refused(filled, folder, ask):
    with pytest.raises(InputError, match="the question is empty"):
        filled.ask_image(folder / "red.png", " ") if ask == "ask_image" else filled.ask(" ")


def test_without_eyes_there_is_no_answer(folder):
    rag = FlorenceRAG(MemoryIndex(ColorEmbedder.info), ColorEmbedder())
    rag.add(folder)
    with pytest.raises(ModelError, match="vqa"):
        rag.ask("Which thing is blue?")
    assert files(rag.search("blue", k=1)) == ["blue.png"]


def test_stored_chunks_are_given_back_with_their_pictures(filled):
    picture, passage = filled.search("red", k=1)[0], filled.search("dog", kinds={"text"})[0]
    assert [hit.id for hit in filled.get([passage.id, "unknown", picture.id])] == [passage.id, picture.id]
    (frame,) = filled.frames(picture)
    assert frame.shape == (64, 64, 3)
    assert filled.frames(passage) == ()


def test_the_picture_of_a_file_that_is_gone_is_an_error_that_names_it(filled, folder):
    hit = filled.search("red", k=1)[0]
    (folder / "red.png").unlink()
    with pytest.raises(MediaError, match=r"red\.png"):
        filled.frames(hit)


@pytest.mark.parametrize(("read", "reads"), [("auto", 2), ("always", 2), ("never", 0)])
def test_words_in_pictures_are_read_and_found(folder, read, reads):
    reader = ScriptedReader({"red": "STOP", "blue": "NIGHT BUS"})
    rag = FlorenceRAG(MemoryIndex(ColorEmbedder.info), Models.of(ColorEmbedder(), ocr_reader=reader), ocr=read)
    rag.add(folder)
    assert reader.reads == reads
    assert ("blue.png" in files(rag.search("night bus", k=1))) == bool(reads)


def test_a_threshold_can_be_set(folder):
    config = AnsweringConfig(threshold=1.1)
    rag = FlorenceRAG(MemoryIndex(ColorEmbedder.info), Models.of(ColorEmbedder(), vqa=ColorVQA()), answering=config)
    rag.add(folder)
    assert rag.ask("Which thing is blue?", min_relevance=0.0).answer == UNKNOWN


def test_open_takes_the_configuration_of_searches_and_answers(tmp_path):
    retrieval, answering = RetrievalConfig(match_depth=20), AnsweringConfig(threshold=1.1)
    with FlorenceRAG.open(tmp_path / "new.db", "florence-tiny", retrieval=retrieval, answering=answering) as rag:
        assert rag.retriever.config == retrieval
        rag.items.upsert_images([color_frame("red")])
        assert rag.ask("What color is it?", min_relevance=0.0).answer == UNKNOWN


def test_it_closes_its_index():
    class Closing(MemoryIndex):
        closed = False

        def close(self):
            self.closed = True

    index = Closing(ColorEmbedder.info)
    with FlorenceRAG(index, ColorEmbedder()):
        assert not index.closed
    assert index.closed


@pytest.mark.parametrize(
    "call",
    [
        lambda rag, path: FlorenceRAG(rag.index, rag.models, vqa=ColorVQA()),
        lambda rag, path: FlorenceRAG.open(path / "new.db", "florence-tiny", captionr="blip"),
        lambda rag, path: rag.add(path, progres=print),
        lambda rag, path: rag.retry_failures(progres=print),
        lambda rag, path: rag.recommend(["red"], diversty=1),
    ],
    ids=["constructor", "open", "add", "retry_failures", "recommend"],
)
def test_an_unknown_keyword_is_not_ignored(rag, tmp_path, call):
    with pytest.raises(TypeError, match="unknown keyword argument"):
        call(rag, tmp_path)
    assert not (tmp_path / "new.db").exists()
