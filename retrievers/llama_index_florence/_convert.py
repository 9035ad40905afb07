"""Converts LlamaIndex nodes to chunks of an index, and hits to nodes."""

import base64
import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from llama_index.core.base.llms.types import BaseContentBlock, TextBlock
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    IndexNode,
    MetadataMode,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)

from florence_rag import FlorenceRAG, InputError, MediaError
from florence_rag.chunking.formats import HEAD_BYTES, describe_format
from florence_rag.chunking.image_string import decode_base64, decode_image_string, is_inline_image
from florence_rag.image_store import ImageStore
from florence_rag.ingest.items import image_to_chunk, is_binary, text_to_chunk
from florence_rag.jpeg import to_jpeg
from florence_rag.json_values import to_json_key
from florence_rag.sources.io.uris import media_of
from florence_rag.tools import hit_to_metadata, hit_to_text, metadata_to_chunk
from florence_rag.types import ITEM_IMAGE, Chunk, Frame, Hit, middle_frame
from florence_rag.untrusted_text import Fence
from llama_index_florence.filters import NODE

MAX_SIDE_PX = 1024

_STORED_FIELDS = (
    "excluded_embed_metadata_keys excluded_llm_metadata_keys relationships metadata_template metadata_separator "
    "text_template mimetype start_char_idx end_char_idx image_mimetype index_id obj"
).split()
"""The fields of a node that have no column in the store."""


class FencedTextNode(TextNode):
    """A TextNode whose text and metadata reach a model inside a fence, because a file may hold the text of a stranger.

    LlamaIndex asks for them in the mode LLM when it writes a prompt; in the other modes they are unchanged.
    """

    def get_content(self, metadata_mode: MetadataMode = MetadataMode.NONE) -> str:
        """Return the text with the metadata that the mode shows."""
        content = super().get_content(metadata_mode)
        if metadata_mode != MetadataMode.LLM:
            return content
        fence = Fence()
        return f"{fence.rule}\n{fence.wrap(content)}"

    def get_content_blocks(self, metadata_mode: MetadataMode = MetadataMode.NONE) -> list[BaseContentBlock]:
        """Return the same as one block."""
        return [TextBlock(text=self.get_content(metadata_mode))]


class TextImageNode(FencedTextNode, ImageNode):
    """An ImageNode whose text also reaches the model; LlamaIndex's own passes only the image."""

    def get_content_blocks(self, metadata_mode: MetadataMode = MetadataMode.NONE) -> list[BaseContentBlock]:
        """Return the text with the metadata that the mode shows, then the image."""
        image = ImageNode.get_content_blocks(self, MetadataMode.NONE)[-1]
        return [*super().get_content_blocks(metadata_mode), image]


def node_to_image(node: BaseNode) -> str | bytes | None:
    """Return the image of any node as `read_image` takes it: bytes, a path or a URL; None if it has none.

    LlamaIndex documents that `image` holds base64; programs also pass data URIs there, and as `image_url`.
    """
    data: str | bytes | None = None
    location: Any = None
    if isinstance(node, ImageNode):
        data, location = node.image, node.image_path or node.image_url
    elif isinstance(node, Node) and node.image_resource:
        data, location = node.image_resource.data, node.image_resource.path or node.image_resource.url
    if data is None and not location and _is_decoded_image(node):
        location = _image_file(node)
    try:
        if data is None:
            return decode_image_string(str(location)) if location else None
        text = data.decode("ascii", "replace") if isinstance(data, bytes) else data
        return decode_image_string(text) if is_inline_image(text) else decode_base64(text)
    except InputError as error:
        raise MediaError(f"node {node.node_id!r}: {error}") from error


def repeats_image(node: BaseNode) -> bool:
    """Return whether a splitter cut this node from the middle of an image that was decoded as text."""
    return NodeRelationship.PREVIOUS in node.relationships and _is_decoded_image(node)


def _is_decoded_image(node: BaseNode) -> bool:
    """Return whether the text of a node is the content of an image, which a SimpleDirectoryReader has decoded."""
    text, start = node.get_content(), getattr(node, "start_char_idx", None)
    if is_binary(text):
        return True
    path = _image_file(node) if text and start is not None else None
    return path is not None and _decoded(path, os.stat(path).st_mtime_ns).startswith(text, start)


@lru_cache(maxsize=1)
def _decoded(path: str, _: int) -> str:
    """Return the bytes of a file as a SimpleDirectoryReader decodes them; all parts of a file follow each other."""
    return Path(path).read_bytes().decode("utf-8", "ignore")


def _image_file(node: BaseNode) -> str | None:
    """Return the image that a SimpleDirectoryReader decoded as text, because it has no reader for its suffix."""
    path = node.metadata.get("file_path")
    if not isinstance(path, str) or not os.path.isfile(path):
        return None
    media = media_of(path)
    return path if media == "image" or (media is None and _begins_as_image(path)) else None


def _begins_as_image(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    return b"\0" in head and "image" in describe_format(head).split()


def node_to_chunk(node: BaseNode, images: ImageStore) -> Chunk:
    """Return the chunk that stores a node: a part of a file that a FlorenceReader read, an image or a text."""
    text, image = node.get_content(), node_to_image(node)
    metadata = _node_to_metadata(node, image)
    if chunk := file_part(node):
        words = text if chunk.kind == "text" else text.removeprefix(chunk_to_text(chunk)).lstrip("\n")
        return replace(chunk, text=words, metadata=metadata)
    if image:
        return image_to_chunk(images, image, "" if _is_decoded_image(node) else text, node.node_id, metadata)
    return text_to_chunk(text, node.node_id, metadata)


def file_part(node: BaseNode) -> Chunk | None:
    """Return the chunk, without its text, of a file that a FlorenceReader read, if the file exists."""
    chunk = metadata_to_chunk(node.metadata, "", node.node_id)
    return chunk if chunk and os.path.isfile(chunk.source.uri) else None


def chunk_to_text(chunk: Chunk) -> str:
    """Return the passage of a text, or kind, locator and text of an image.

    The result is never empty, because LlamaIndex drops nodes without text.
    """
    hit = Hit(chunk.id, chunk.kind, chunk.source.uri, chunk.locator, 0.0, chunk.text)
    return chunk.text if chunk.kind == "text" else hit_to_text(hit)


def hit_to_node(hit: Hit, frame: Frame | None) -> TextNode:
    """Return a TextImageNode, or a FencedTextNode if there is no image; its ref_doc_id is the source.

    The node never carries a path, because LlamaIndex would read any file at that path and send it to the model. The
    model does not receive the metadata, because the text already names kind, file and locator.
    """
    metadata = hit_to_metadata(hit)
    fields: dict[str, Any] = {
        "id_": hit.id,
        "text": hit_to_text(hit),
        **hidden_metadata(metadata),
        "relationships": {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=hit.source)},
    }
    return FencedTextNode(**fields) if frame is None else TextImageNode(**fields, **image_fields(frame))


def item_to_node(hit: Hit, frame: Frame | None) -> TextNode:
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
        return FencedTextNode(**{name: value for name, value in fields.items() if not name.startswith("image_")})
    if frame is not None and "image_path" not in fields:
        fields |= image_fields(frame)
    return TextImageNode(**fields)


def load_frame(rag: FlorenceRAG, hit: Hit) -> Frame | None:
    """Return the image of a hit, of a clip its middle keyframe; None for a text, or if the file is gone."""
    try:
        frames = rag.frames(hit)
    except InputError:
        return None
    return middle_frame(frames) if frames else None


def image_fields(frame: Frame) -> dict[str, Any]:
    """Return the fields of a node that hold an image, as a JPEG of at most MAX_SIDE_PX."""
    jpeg = to_jpeg(frame, max_side_px=MAX_SIDE_PX, quality=90)
    return {"image": base64.b64encode(jpeg).decode("ascii"), "image_mimetype": "image/jpeg"}


def hidden_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a node whose metadata no model receives."""
    keys = list(metadata)
    return {"metadata": metadata, "excluded_llm_metadata_keys": keys, "excluded_embed_metadata_keys": keys}


def _node_to_metadata(node: BaseNode, image: str | bytes | None) -> dict[str, Any]:
    """Return the metadata of a node, and the other fields that restore it."""
    if NODE in node.metadata:
        raise InputError(f"the metadata {NODE!r} of node {node.node_id!r} are reserved; rename this key")
    fields = node.model_dump(include=set(_STORED_FIELDS))
    rest = {name: fields[name] for name in _STORED_FIELDS if fields.get(name)}
    if isinstance(image, str):
        rest["image_path"] = image
    return {
        **node.metadata,
        NODE: {
            "ref_doc_id": node.ref_doc_id or node.node_id,
            "keys": [to_json_key(key) for key in node.metadata],
            "fields": rest,
        },
    }
