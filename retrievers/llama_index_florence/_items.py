"""LlamaIndex nodes as items of an index, and items as nodes again."""

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

_KEPT = (
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
"""The fields of a node that no column of the store holds."""


def node_to_metadata(node: BaseNode) -> dict[str, Any]:
    """Its metadata, to filter by, and the rest of it, to make it again."""
    if NODE in node.metadata:
        raise InputError(
            f"the metadata {NODE!r} of node {node.node_id!r} are florence_rag's own; give yours another name"
        )
    fields = node.model_dump(mode="json", exclude={"embedding", "image", "image_resource", "text_resource"})
    metadata: dict[str, Any] = fields["metadata"]
    rest = {name: fields[name] for name in _KEPT if fields.get(name)}
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
    """The chunk of a file that the node stands for, as a FlorenceReader says, if the file is there."""
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
    """The passage of a text; of a picture its kind and place, and the words that came with it.

    Never empty, for LlamaIndex leaves out what has no text.
    """
    hit = Hit(chunk.id, chunk.kind, chunk.source.uri, chunk.locator, 0.0, chunk.text)
    return chunk.text if chunk.kind == "text" else hit_to_text(hit)


def hit_to_own_node(hit: Hit, frame: Frame | None) -> TextNode:
    """The node that was stored: with its picture, or the path of this, if there is one.

    What another framework stored is a node with the same words and metadata.
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
