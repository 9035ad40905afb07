"""A LangChain runnable that compares an answer with the documents that it rests on."""

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig

from florence_rag import FlorenceRAG, InputError
from florence_rag.text_arguments import check_text
from florence_rag.validation import validate_arguments


@validate_arguments
class FlorenceVerifier(Runnable[Mapping[str, Any], dict[str, Any]]):
    """Adds the verified claims to the output of a retrieval chain: `chain | FlorenceVerifier(rag)`.

    The input has the keys of `create_retrieval_chain`: "answer" is a text or a message, "context" the documents of a
    `FlorenceRetriever`, and "input", optionally, the question. The output has "claims" in addition: one dictionary per
    statement, with text, verdict, confidence and citation, as `CheckedClaim.to_dict` returns them.

    Args:
        rag: The index that the documents come from.
    """

    def __init__(self, rag: FlorenceRAG) -> None:
        self.rag = rag

    def invoke(self, input: Mapping[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        """Return the input with "claims"."""
        return self._call_with_config(self._verify, input, config, run_type="chain")

    def _verify(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if missing := {"answer", "context"} - given.keys():
            raise InputError(f"the input has no {min(missing)!r}; give the answer, and the documents as context")
        answer = given["answer"]
        text = check_text(str(answer.text) if isinstance(answer, BaseMessage) else answer, "answer")
        ids = [str(document.id) for document in given["context"]]
        claims = self.rag.verify(text, ids, str(given.get("input") or "")) if text.strip() and ids else []
        return {**given, "claims": [claim.to_dict() for claim in claims]}
