"""Hits as LangChain documents, and the arguments of our tools as a pydantic model."""

from __future__ import annotations

from typing import Annotated, Any

from langchain_core.documents import Document
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model

from florence_rag.tools import Tool, hit_to_metadata, hit_to_text
from florence_rag.types import Hit


def hit_to_document(hit: Hit) -> Document:
    """page_content: words for a model. metadata: id, source, kind, locator, score, why, and the file's own."""
    return Document(id=hit.id, page_content=hit_to_text(hit), metadata=hit_to_metadata(hit))


def tool_to_args_schema(tool: Tool) -> type[BaseModel]:
    """The tool's own JSON schema; values pass as they come, for the tool itself checks them and explains."""
    parameters = tool.parameters
    fields: dict[str, Any] = {}
    for name, schema in parameters["properties"].items():
        default = ... if name in parameters["required"] else schema.get("default")
        fields[name] = (Annotated[Any, WithJsonSchema(schema)], Field(default, description=schema["description"]))
    return create_model(tool.name, __config__=ConfigDict(extra="forbid"), **fields)


def validation_error_to_text(error: Any) -> str:
    """One line for the model: which argument is missing or unknown."""
    problems = (f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
    return f"{error.title} failed: {'; '.join(problems)}"
