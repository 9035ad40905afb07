"""Converts hits to LlamaIndex nodes, and reads the images of nodes."""

from __future__ import annotations

import base64
from typing import Any

from llama_index.core.base.llms.types import BaseContentBlock, TextBlock
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
)

from florence_rag import MediaError
from florence_rag.jpeg import to_jpeg
from florence_rag.tools import hit_to_metadata, hit_to_text
from florence_rag.types import Frame, Hit

MAX_SIDE_PX = 1024


class TextImageNode(ImageNode):
    """An ImageNode whose text also reaches the model; LlamaIndex's own passes only the image."""

    def get_content_blocks(self, metadata_mode: MetadataMode = MetadataMode.NONE) -> list[BaseContentBlock]:
        """Return the metadata that the mode shows, then the text, then the image."""
        *metadata, image = super().get_content_blocks(metadata_mode)
        return [*metadata, TextBlock(text=self.text), image]


def hit_to_node(hit: Hit, frame: Frame | None) -> NodeWithScore:
    """Return a TextImageNode, or a TextNode if there is no image; its ref_doc_id is the source.

    The node never carries a path, because LlamaIndex would read any file at that path and send it to the model. The
    model does not receive the metadata, because the text already names kind, file and locator.
    """
    metadata = hit_to_metadata(hit)
    fields: dict[str, Any] = {
        "id_": hit.id,
        "text": hit_to_text(hit),
        "metadata": metadata,
        "excluded_llm_metadata_keys": list(metadata),
        "excluded_embed_metadata_keys": list(metadata),
        "relationships": {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=hit.source)},
    }
    if frame is None:
        return NodeWithScore(node=TextNode(**fields), score=hit.score)
    node = TextImageNode(image=frame_to_base64(frame), image_mimetype="image/jpeg", **fields)
    return NodeWithScore(node=node, score=hit.score)


def node_to_image(node: BaseNode) -> str | bytes | None:
    """Return the image of any node as `read_image` takes it: bytes, a path or a URL; None if it has none."""
    data: str | bytes | None = None
    location: Any = None
    if isinstance(node, ImageNode):
        data, location = node.image, node.image_path or node.image_url
    elif isinstance(node, Node) and node.image_resource:
        data, location = node.image_resource.data, node.image_resource.path or node.image_resource.url
    if data is None:
        return str(location) if location else None
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise MediaError(f"the image of node {node.node_id!r} is not valid base64: {error}") from error


def frame_to_base64(frame: Frame) -> str:
    """The picture as a JPEG of at most MAX_SIDE_PX."""
    return base64.b64encode(to_jpeg(frame, max_side_px=MAX_SIDE_PX, quality=90)).decode("ascii")
