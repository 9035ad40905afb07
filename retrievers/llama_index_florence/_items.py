"""Converts LlamaIndex nodes to items of an index, and items to nodes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llama_index.core.schema import BaseNode, IndexNode, TextNode

from florence_rag import InputError
from florence_rag.tools import hit_to_text
from florence_rag.types import ITEM_IMAGE, KINDS, MEDIA_OF_KIND, Chunk, Frame, Hit, Locator, Source
from llama_index_florence._convert import TextImageNode, frame_to_base64, node_to_image
from llama_index_florence.filters import NODE

_STORED_FIELDS = (
    "excluded_embed_metadata_keys",
    "excluded_llm_metadata_keys",
    "relationships",
    "metadata_template",
    "metadata_separator",
    "text_template",
    "mimetype",
    "start_char_idx",
    "end_char_idx",
    "image_mimetype",
    "index_id",
    "obj",
)
"""The fields of a node that have no column in the store."""


def node_to_metadata(node: BaseNode) -> dict[str, Any]:
    """Return the metadata of a node, and the other fields that restore it."""
    if NODE in node.metadata:
        raise InputError(f"the metadata {NODE!r} of node {node.node_id!r} are reserved; rename this key")
    fields = node.model_dump(mode="json", exclude={"embedding", "image", "image_resource", "text_resource"})
    metadata: dict[str, Any] = fields["metadata"]
    rest = {name: fields[name] for name in _STORED_FIELDS if fields.get(name)}
    if isinstance(path := node_to_image(node), str):
        rest["image_path"] = path
    return {
        **metadata,
        NODE: {
            "ref_doc_id": node.ref_doc_id or node.node_id,
            "keys": list(metadata),
            "empty": [key for key, value in metadata.items() if value in (None, "", [])],
            "fields": rest,
        },
    }


def node_to_file_chunk(node: BaseNode) -> Chunk | None:
    """Return the chunk of a file that a FlorenceReader read, if the file exists."""
    where, kind, locator = (node.metadata.get(key) for key in (ITEM_IMAGE, "kind", "locator"))
    if not (isinstance(where, Mapping) and isinstance(locator, Mapping) and kind in KINDS):
        return None
    if not os.path.isfile(where.get("file", "")):
        return None
    source = Source(where["file"], MEDIA_OF_KIND[kind], 0, 0, where["hash"])
    chunk = Chunk(source, kind, Locator.from_dict(locator), custom_id=node.node_id)
    words = node.get_content() if kind == "text" else node.get_content().removeprefix(chunk_to_text(chunk)).lstrip("\n")
    return replace(chunk, text=words, metadata=node_to_metadata(node))


def chunk_to_text(chunk: Chunk) -> str:
    """Return the passage of a text, or kind, locator and text of an image.

    The result is never empty, because LlamaIndex drops nodes without text.
    """
    hit = Hit(chunk.id, chunk.kind, chunk.source.uri, chunk.locator, 0.0, chunk.text)
    return chunk.text if chunk.kind == "text" else hit_to_text(hit)


def hit_to_own_node(hit: Hit, frame: Frame | None) -> TextNode:
    """Return the stored node, with its image or the path of its image.

    An item that another framework stored becomes a node with the same text and metadata.
    """
    kept = hit.metadata.get(NODE, {"fields": {}, "keys": list(hit.metadata)})
    fields = {
        **kept["fields"],
        "id_": hit.id,
        "text": hit_to_text(hit) if ITEM_IMAGE in kept["keys"] and hit.kind != "text" else hit.text or hit.caption,
        "metadata": {key: hit.metadata[key] for key in kept["keys"]},
    }
    if "index_id" in fields:
        return IndexNode(**fields)
    if frame is None and not os.path.isfile(fields.get("image_path") or ""):
        return TextNode(**{name: value for name, value in fields.items() if not name.startswith("image_")})
    if frame is not None and "image_path" not in fields:
        fields |= {"image": frame_to_base64(frame), "image_mimetype": "image/jpeg"}
    return TextImageNode(**fields)
