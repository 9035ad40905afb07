"""Finds the stored hits behind documents of LangChain, nodes of LlamaIndex, messages, and artifacts of tools."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from florence_rag.errors import InputError
from florence_rag.types import Answer, Citation, Hit, Locator
from florence_rag.viz.thumbnails import FrameProvider

Result = Hit | Citation


def to_results(rag: FrameProvider, shown: Any) -> tuple[list[Result], Answer | None]:
    """Return what is shown as hits and citations, and the answer that they belong to, if there is one.

    Raises:
        InputError: If it is something else, or if it comes from another index.
    """
    if isinstance(shown, Answer):
        return list(shown.citations), shown
    artifact = shown if isinstance(shown, Mapping) else getattr(shown, "artifact", None)
    if isinstance(artifact, Mapping):
        try:
            return _of_artifact(rag, artifact)
        except (KeyError, TypeError) as error:
            raise InputError("a dict cannot be shown unless a tool has returned it, with hits or citations") from error
    each = shown if isinstance(shown, Sequence) and not isinstance(shown, str | bytes) else [shown]
    return [_to_result(rag, one) for one in each], None


def _to_result(rag: FrameProvider, shown: Any) -> Result:
    """Return a hit or citation as it is, and the stored hit of a document or node, with its score."""
    if isinstance(shown, Hit | Citation):
        return shown
    metadata = getattr(shown, "metadata", {})
    hit = _stored(rag, getattr(shown, "node_id", None) or getattr(shown, "id", None), type(shown).__name__)
    score = getattr(shown, "score", None) or metadata.get("score")
    return replace(hit, score=score) if isinstance(score, float) else hit


def _stored(rag: FrameProvider, id: Any, name: str) -> Hit:
    if not isinstance(id, str):
        raise InputError(
            f"a {name} cannot be shown; give hits, citations, an answer, documents, nodes or the artifact of a tool"
        )
    if found := rag.get([id]):
        return found[0]
    raise InputError(f"{id!r:.80} is not in this index; show it with the index that it comes from")


def _of_artifact(rag: FrameProvider, artifact: Mapping[str, Any]) -> tuple[list[Result], Answer | None]:
    """Return the citations of an artifact, or else the hits that it lists."""
    cited = artifact.get("citations") or [each for each in [artifact.get("citation")] if each]
    if cited:
        citations = tuple(Citation(**{**each, "locator": Locator.from_dict(each["locator"])}) for each in cited)
        answer = artifact.get("answer")
        return list(citations), Answer(answer, artifact.get("confidence"), citations) if answer else None
    listed = artifact["hits"] if "hits" in artifact else artifact["moments"]
    return [replace(_stored(rag, each["id"], "dict"), score=each.get("score", 0.0)) for each in listed], None
