import pytest

from florence_rag import FlorenceRAG
from florence_rag.context import Models, loaded
from florence_rag.errors import InputError
from florence_rag.testing import ColorEmbedder, MemoryIndex, ScriptedVQA, color_frame
from florence_rag.types import Answer, Citation, Locator

TEXT = "The red bus leaves at nine. The tower of Marlo is 30 metres high."


class NothingFound:
    """A detector of dogs, which counts its calls."""

    labels, calls = ("dog",), 0

    def detect(self, frames):
        self.calls += 1
        return [[] for _ in frames]


@pytest.fixture
def rag(tmp_path):
    embedder = ColorEmbedder()
    vqa = ScriptedVQA({"How many": ("1", 0.9), "red": ("yes", 0.9), "": ("no", 0.95)}, fit=0.9)
    models = Models.of(embedder, vqa=vqa)
    models.matcher = None
    with FlorenceRAG(MemoryIndex(embedder.info), models, images=tmp_path / "images") as rag:
        rag.items.upsert_texts([TEXT], ids=["note"])
        rag.items.upsert_images([color_frame("red")], ids=["wall"])
        yield rag


def verdicts(claims):
    return [(claim.verdict, claim.citation.id if claim.citation else "") for claim in claims]


def test_each_statement_is_compared_with_images_and_passages(rag):
    claims = rag.verify("There is a red wall. There is a dog. The tower of Marlo is 40 metres high.", ["wall", "note"])
    assert verdicts(claims) == [("supported", "wall"), ("contradicted", "wall"), ("contradicted", "note")]
    assert claims[2].citation.quote == "The tower of Marlo is 30 metres high."
    assert claims[0].confidence == claims[0].citation.confidence == 0.9
    assert claims[0].to_dict()["citation"]["id"] == "wall"


def test_a_statement_with_citations_is_compared_with_these_only(rag):
    cited = (Citation.of(rag.get(["note"])[0]), Citation.of(rag.get(["wall"])[0]))
    claims = rag.verify(Answer("There is a red wall [1]. There is a red wall [2].", None, cited))
    assert verdicts(claims) == [("unknown", ""), ("supported", "wall")]


def test_a_short_answer_is_completed_by_the_question(rag):
    (claim,) = rag.verify("red", ["wall"], "What color is the wall?")
    assert (claim.text, claim.verdict) == ("the wall is red", "supported")


def test_ask_verifies_its_answer_on_request(rag, tmp_path):
    answer = rag.ask("How high is the tower of Marlo?", kinds={"text"}, verify=True)
    assert answer.answer == "The tower of Marlo is 30 metres high."
    assert [claim.verdict for claim in answer.claims] == ["supported"]
    assert answer.to_dict()["claims"][0]["verdict"] == "supported"
    plain = rag.ask("How high is the tower of Marlo?", kinds={"text"})
    assert plain.claims is None and "claims" not in plain.to_dict()


def test_an_image_outside_the_index_is_compared_by_its_thumbnail(rag):
    answer = rag.ask("Is there a red wall?", image=color_frame("red"), verify=True)
    assert [(claim.text, claim.verdict) for claim in answer.claims] == [("there is a red wall", "supported")]


def test_an_answer_that_is_none_has_no_claims(rag):
    assert rag.verify(Answer("I do not know.", None, status="unknown")) == []


def test_a_chunk_that_is_gone_is_judged_by_its_quote(rag):
    cited = (Citation("gone", "text", "a.txt", Locator(), quote="The tower is 30 metres high."),)
    claims = rag.verify(Answer("The tower is 40 metres high.", None, cited))
    assert verdicts(claims) == [("contradicted", "gone")]


def test_an_unreadable_image_leaves_claims_open(rag, tmp_path):
    from PIL import Image

    file = tmp_path / "wall.png"
    Image.fromarray(color_frame("red")).save(file)
    rag.add(file)
    (hit,) = rag.index.find(filter={"source": str(file)})
    file.unlink()
    assert verdicts(rag.verify("There is a red wall", [hit.id])) == [("unknown", "")]


def test_long_answers_are_limited(rag):
    claims = rag.verify("There is a red wall. " * 30, ["wall"])
    assert [claim.verdict for claim in claims] == ["supported"] * 20 + ["unchecked"] * 10


def test_many_claims_about_many_images_cost_few_calls(rag, monkeypatch):
    """Each image costs one call of the detector, and all claims together forty of the VQA model."""
    detector, asked = NothingFound(), rag.models.vqa.get().asked
    monkeypatch.setattr(rag.models, "detector", loaded(detector))
    walls = [f"wall {number}" for number in range(19)]
    rag.items.upsert_images([color_frame("red")] * 19, ids=walls)
    claims = rag.verify("There is a red wall. The red bus leaves at nine. " * 5, [*walls, "note"])
    verdicts = [claim.verdict for claim in claims]
    assert verdicts == ["supported"] * 4 + ["unchecked"] * 6
    assert (detector.calls, len(asked)) == (19, 38)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", ["wall"]), "the answer is empty"),
        (("There is a dog.",), "give the ids of chunks as evidence"),
        (("There is a dog.", ["no such"]), "no chunk has the id 'no such'"),
        (("There is a dog.", ["wall"] * 21), "evidence has 21 ids; allowed are 20"),
        (("There is a dog.", "wall"), "evidence must be a list of texts"),
    ],
)
def test_wrong_arguments_are_named(rag, arguments, message):
    with pytest.raises(InputError, match=message):
        rag.verify(*arguments)


@pytest.mark.slow
def test_florence_tiny_catches_mistakes_about_held_out_scenes(tmp_path):
    from benchmarks.verification import index, measure

    with FlorenceRAG.open(tmp_path / "town.db", "florence-tiny", ocr="never") as rag:
        metrics = measure(rag, index(rag, scenes=3, documents=5))["all"]
    assert metrics["precision of contradicted"] > 0.9 and metrics["recall of mistakes"] > 0.9
    assert metrics["precision of supported"] > 0.9 and metrics["recall of true claims"] > 0.8
