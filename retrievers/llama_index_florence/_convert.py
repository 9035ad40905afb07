"""Hits as LlamaIndex nodes, and the arguments of our tools as a pydantic model."""

from __future__ import annotations

import base64
import io
from typing import Annotated, Any

from llama_index.core.bridge.pydantic import Field, WithJsonSchema, create_model
from llama_index.core.schema import ImageNode, NodeWithScore, TextNode
from llama_index.core.tools import ToolMetadata
from PIL import Image

from florence_rag.tools import Tool, hit_to_metadata, hit_to_text
from florence_rag.types import Frame, Hit

MAX_SIDE_PX = 1024


def hit_to_node(hit: Hit, frame: Frame | None) -> NodeWithScore:
    """An ImageNode that holds the picture, or a TextNode where there is none.

    An ImageNode never carries a path: LlamaIndex would read whatever file lies there and send it to the model.
    Metadata stays away from the model, for the text names kind, file and place already.
    """
    metadata = hit_to_metadata(hit)
    fields: dict[str, Any] = {
        "id_": hit.id,
        "text": hit_to_text(hit),
        "metadata": metadata,
        "excluded_llm_metadata_keys": list(metadata),
        "excluded_embed_metadata_keys": list(metadata),
    }
    if frame is None:
        return NodeWithScore(node=TextNode(**fields), score=hit.score)
    node = ImageNode(image=_frame_to_base64(frame), image_mimetype="image/jpeg", **fields)
    return NodeWithScore(node=node, score=hit.score)


def tool_to_metadata(tool: Tool) -> ToolMetadata:
    """The tool's own prompt and JSON schema; values pass as they come, for the tool itself checks them and explains."""
    parameters = tool.parameters
    fields: dict[str, Any] = {}
    for name, schema in parameters["properties"].items():
        default = ... if name in parameters["required"] else schema.get("default")
        fields[name] = (Annotated[Any, WithJsonSchema(schema)], Field(default, description=schema["description"]))
    return ToolMetadata(tool.description, tool.name, create_model(tool.name, **fields))


def _frame_to_base64(frame: Frame) -> str:
    picture = Image.fromarray(frame)
    picture.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
