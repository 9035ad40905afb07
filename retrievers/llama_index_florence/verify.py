"""A LlamaIndex evaluator that compares a response with the nodes that it rests on."""

import asyncio
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.response.schema import Response
from llama_index.core.evaluation import BaseEvaluator, EvaluationResult

from florence_rag import FlorenceRAG, InputError
from florence_rag.types import CheckedClaim
from florence_rag.validation import validate_arguments


@validate_arguments
class FlorenceVerifier(BaseEvaluator):
    """Verifies the statements of a response against its source nodes, whose images and texts it reads again.

        verifier = FlorenceVerifier(rag)
        result = verifier.evaluate_response(query, engine.query(query))   # passing, score, feedback
        verifier.postprocess_response(response).metadata["claims"]        # the statements with their verdicts

    A response passes if none of its statements is contradicted. The score is the share of statements that are
    supported, among those that the nodes can judge; None if they can judge none.

    Args:
        rag: The index that the nodes come from.
    """

    def __init__(self, rag: FlorenceRAG) -> None:
        self.rag = rag

    def _get_prompts(self) -> dict[str, Any]:
        return {}

    def _update_prompts(self, prompts_dict: dict[str, Any]) -> None:
        """Keep no prompts."""

    async def aevaluate(
        self,
        query: str | None = None,
        response: str | None = None,
        contexts: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """Verify a text; `ids` names the nodes, because the texts of `contexts` have no images."""
        ids = kwargs.get("ids")
        if not (ids and response):
            raise InputError("give response and ids, the ids of its nodes, or call evaluate_response")
        claims = await asyncio.to_thread(self.rag.verify, response, ids, query or "")
        return _result(query, response, claims)

    def evaluate_response(
        self, query: str | None = None, response: Response | None = None, **kwargs: Any
    ) -> EvaluationResult:
        """Verify a response against its source nodes."""
        return _result(query, str(response or ""), self._claims(query, response))

    async def aevaluate_response(
        self, query: str | None = None, response: Response | None = None, **kwargs: Any
    ) -> EvaluationResult:
        """Verify a response against its source nodes, without blocking the event loop."""
        return await asyncio.to_thread(self.evaluate_response, query, response)

    def postprocess_response(self, response: Response, query: str | None = None) -> Response:
        """Return the response with its claims as dictionaries in `metadata["claims"]`."""
        claims = [claim.to_dict() for claim in self._claims(query, response)]
        response.metadata = {**(response.metadata or {}), "claims": claims}
        return response

    def _claims(self, query: str | None, response: Response | None) -> list[CheckedClaim]:
        text, nodes = str(response or ""), response.source_nodes if response else []
        return self.rag.verify(text, [node.node.node_id for node in nodes], query or "") if text and nodes else []


def _result(query: str | None, response: str, claims: Sequence[CheckedClaim]) -> EvaluationResult:
    judged = [claim for claim in claims if claim.verdict in ("supported", "contradicted")]
    supported = sum(claim.verdict == "supported" for claim in judged)
    return EvaluationResult(
        query=query,
        response=response,
        passing=supported == len(judged),
        score=supported / len(judged) if judged else None,
        feedback="\n".join(f"{claim.verdict}: {claim.text}" for claim in claims),
    )
