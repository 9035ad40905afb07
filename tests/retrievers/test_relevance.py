"""Both plug-ins pass the relevance of hits to the thresholds of their frameworks."""

import asyncio

import pytest
from llama_index.core.postprocessor import SimilarityPostprocessor

import langchain_florence
import llama_index_florence
from florence_rag import InputError
from florence_rag.retrieval import relevance
from florence_rag.retrieval.relevance import Calibration

CALIBRATION = Calibration(10.0, 0.0, 0.0, -5.0, typical_mean=0.0, typical_deviation=0.1)


@pytest.fixture
def calibrated(rag, monkeypatch):
    kinds = dict.fromkeys(("image", "page", "clip", "text"), CALIBRATION)
    monkeypatch.setattr(relevance, "_calibrations", lambda: {rag.models.embedder.info.fingerprint: kinds})
    return rag


def relevant(rag):
    return [hit.id for hit in rag.search("red", k=9, group=False, min_relevance=0.5)]


def test_the_score_threshold_of_langchain_is_a_relevance(calibrated):
    store = langchain_florence.FlorenceVectorStore(calibrated)
    retriever = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.5, "k": 9}
    )
    found = store.similarity_search_with_relevance_scores("red", k=9)
    assert 0 < len(relevant(calibrated)) < len(found)
    assert all(0 <= score <= 1 for _, score in found)
    assert [document.id for document in retriever.invoke("red")] == relevant(calibrated)
    assert [document.id for document in asyncio.run(retriever.ainvoke("red"))] == relevant(calibrated)


def test_a_langchain_retriever_takes_a_smallest_relevance(calibrated):
    retriever = langchain_florence.FlorenceRetriever(calibrated, k=9, min_relevance=0.5)
    documents = retriever.invoke("red")
    assert [document.id for document in documents] == relevant(calibrated)
    assert all(document.metadata["relevance"] >= 0.5 for document in documents)
    assert "perceptual_hash" not in documents[0].metadata
    with pytest.raises(InputError, match="hybrid"):
        retriever.invoke("red", search_type="mmr")


def test_the_similarity_postprocessor_of_llama_index_cuts_by_relevance(calibrated):
    nodes = llama_index_florence.FlorenceRetriever(calibrated, k=9, images=False).retrieve("red")
    kept = SimilarityPostprocessor(similarity_cutoff=0.5).postprocess_nodes(nodes)
    assert [node.node_id for node in kept] == relevant(calibrated)
    fewer = llama_index_florence.FlorenceRetriever(calibrated, k=9, images=False, min_relevance=0.5).retrieve("red")
    assert [node.node_id for node in fewer] == relevant(calibrated)


def test_without_a_fitted_calibration_scores_stay_as_they_are(rag):
    nodes = llama_index_florence.FlorenceRetriever(rag, k=3, images=False).retrieve("red")
    assert [node.score for node in nodes] == [hit.score for hit in rag.search("red", k=3, group=False)]
    assert all(0 <= node.node.metadata["relevance"] <= 1 for node in nodes)
