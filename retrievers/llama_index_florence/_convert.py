"""Hits and chunks as LlamaIndex nodes, the pictures of nodes, and the arguments of our tools as a pydantic model."""

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
    """An ImageNode whose words reach a model, too; LlamaIndex's own shows the picture alone."""

    def get_content_blocks(self, metadata_mode: MetadataMode = MetadataMode.NONE) -> list[BaseContentBlock]:
        """Metadata as far as the mode shows any, then the words, then the picture."""
        *metadata, picture = super().get_content_blocks(metadata_mode)
        return [*metadata, TextBlock(text=self.text), picture]


def hit_to_node(hit: Hit, frame: Frame | None) -> NodeWithScore:
    """A TextImageNode that holds the picture, or a TextNode where there is none; its ref_doc_id is the source.

    A picture is never carried as a path: LlamaIndex would read whatever file lies there and send it to the model.
    Metadata stays away from the model, for the text names kind, file and place already.
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
    """The picture of any node as `read_image` takes it: the bytes of a file, else a path or URL; None where none is."""
    data: str | bytes | None = None
    place: Any = None
    if isinstance(node, ImageNode):
        data, place = node.image, node.image_path or node.image_url
    elif isinstance(node, Node) and node.image_resource:
        data, place = node.image_resource.data, node.image_resource.path or node.image_resource.url
    if data is None:
        return str(place) if place else None
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise MediaError(f"the picture of node {node.node_id!r} is not valid base64: {error}") from error


def frame_to_base64(frame: Frame) -> str:
    """The picture as a JPEG of at most MAX_SIDE_PX."""
    return base64.b64encode(to_jpeg(frame, max_side_px=MAX_SIDE_PX, quality=90)).decode("ascii")
