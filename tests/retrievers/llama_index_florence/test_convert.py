import base64
import io

import numpy as np
import pytest
from llama_index.core.schema import (
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from PIL import Image

from florence_rag.errors import InputError, MediaError
from florence_rag.image_store import ImageStore
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from florence_rag.types import Chunk, Hit, Locator, Source
from llama_index_florence._convert import (
    MAX_SIDE_PX,
    FencedTextNode,
    TextImageNode,
    chunk_to_text,
    file_part,
    hit_to_node,
    image_fields,
    item_to_node,
    load_frame,
    node_to_chunk,
    node_to_image,
)

HIT = Hit("a" * 32, "image", "/photos/red.png", Locator(), 0.5, caption="a red wall", metadata={"city": "Oslo"})


@pytest.fixture
def images(tmp_path):
    return ImageStore(MemoryIndex(ColorEmbedder.info), tmp_path / "images")


def to_hit(chunk):
    return Hit(
        chunk.id, chunk.kind, chunk.source.uri, chunk.locator, 1.0, chunk.text, metadata=chunk.metadata, is_item=True
    )


def pixels_of(node):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(node.image))))


# Nodes to chunks


@pytest.mark.parametrize(
    ("node", "image"),
    [
        (TextNode(text="red"), None),
        (ImageNode(), None),
        (ImageNode(image=base64.b64encode(b"bytes").decode()), b"bytes"),
        (ImageNode(image="data:image/png;base64,AAEC"), b"\0\1\2"),
        (ImageNode(image="data:image/png,%00%01"), b"\0\1"),
        (ImageNode(image=base64.encodebytes(bytes(range(256))).decode()), bytes(range(256))),
        (ImageNode(image=base64.urlsafe_b64encode(bytes(range(256))).decode().rstrip("=")), bytes(range(256))),
        (ImageNode(image_url="data:image/png;base64,AAEC"), b"\0\1\2"),
        (ImageNode(image_url="file:///a%20b.png"), "/a b.png"),
        (Node(image_resource=MediaResource(url="data:image/png;base64,AAEC")), b"\0\1\2"),
        (ImageNode(image_path="/a.png", image_url="http://127.0.0.1/b.png"), "/a.png"),
        (ImageNode(image_url="http://127.0.0.1/b.png"), "http://127.0.0.1/b.png"),
        (Node(image_resource=MediaResource(data=b"bytes")), b"bytes"),
        (Node(image_resource=MediaResource(path="/a.png")), "/a.png"),
        (Node(text_resource=MediaResource(text="red")), None),
    ],
)
def test_an_image_is_bytes_a_path_or_a_url(node, image):
    assert node_to_image(node) == image


def test_an_image_that_is_not_base64_is_named():
    with pytest.raises(MediaError, match="node 'b': the image is not valid base64"):
        node_to_image(ImageNode(id_="b", image="%%%"))


def test_a_node_with_an_image_is_an_image_and_any_other_a_text(images):
    image = node_to_chunk(ImageNode(id_="p", text="a wall", **image_fields(color_frame("red"))), images)
    text = node_to_chunk(TextNode(id_="t", text="red"), images)
    assert (image.id, image.kind, image.caption, len(image.frames)) == ("p", "image", "a wall", 1)
    assert (text.id, text.kind, text.text, text.frames) == ("t", "text", "red", ())


def test_an_image_that_was_decoded_as_text_is_an_image(images, tmp_path):
    for suffix in ("bmp", "tiff", "jpg"):
        path = tmp_path / f"noise.{suffix}"
        Image.effect_noise((60, 40), 80).convert("RGB").save(path)
        text = path.read_bytes().decode("utf-8", "ignore")
        chunk = node_to_chunk(TextNode(id_=suffix, text=text, metadata={"file_path": str(path)}), images)
        assert (chunk.kind, chunk.source.uri, chunk.caption) == ("image", str(path), "")
        with pytest.raises(InputError, match="binary file, such as an image"):
            node_to_chunk(TextNode(text=text), images)


def test_the_key_of_our_own_metadata_is_refused(images):
    with pytest.raises(InputError, match="'_node'"):
        node_to_chunk(TextNode(id_="1", text="1", metadata={"_node": 1}), images)


def test_metadata_of_a_file_that_is_gone_make_no_part_of_it(tmp_path):
    metadata = {"source": str(tmp_path / "gone.png"), "kind": "image", "locator": {}}
    assert file_part(TextNode(text="red", metadata=metadata)) is None


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("text", "a passage", "a passage"),
        ("image", "", '[image] "a.png"'),
        ("image", "a wall", '[image] "a.png"\na wall'),
    ],
)
def test_the_text_of_an_image_begins_with_its_kind_and_file(kind, text, expected):
    assert chunk_to_text(Chunk(Source("/x/a.png", "image", 0, 0, ""), kind, text=text)) == expected


# Hits to nodes


def test_a_hit_without_an_image_is_a_text_node_of_its_source():
    node = hit_to_node(HIT, None)
    assert type(node) is FencedTextNode
    assert (node.node_id, node.ref_doc_id) == (HIT.id, "/photos/red.png")
    assert node.text == '[image] "red.png"\nCaption: a red wall'
    assert node.metadata["city"] == "Oslo" and node.metadata["score"] == 0.5


def test_a_hit_with_an_image_has_no_path_that_llama_index_could_read():
    node = hit_to_node(HIT, color_frame("red"))
    assert isinstance(node, TextImageNode)
    assert (node.image_path, node.image_url, node.image_mimetype) == (None, None, "image/jpeg")
    np.testing.assert_allclose(pixels_of(node), color_frame("red"), atol=8)


def test_no_model_receives_the_metadata_of_a_hit():
    node = hit_to_node(HIT, None)
    assert node.get_content(MetadataMode.EMBED) == node.text
    rule, opening, *text, closing = node.get_content(MetadataMode.LLM).splitlines()
    assert rule.startswith(f"Text between {opening} and {closing}, ") and "\n".join(text) == node.text


def test_a_model_receives_the_text_and_then_the_image():
    blocks = hit_to_node(HIT, color_frame("red")).get_content_blocks(MetadataMode.LLM)
    assert [block.block_type for block in blocks] == ["text", "image"]
    assert '\n[image] "red.png"\nCaption: a red wall\n' in blocks[0].text


def test_a_large_image_is_scaled_down():
    fields = image_fields(np.zeros((MAX_SIDE_PX // 2, 2 * MAX_SIDE_PX, 3), np.uint8))
    assert pixels_of(TextImageNode(**fields)).shape == (MAX_SIDE_PX // 4, MAX_SIDE_PX, 3)


# Stored nodes


@pytest.mark.parametrize(
    "node",
    [
        TextNode(id_="t", text="red", metadata={"city": "Oslo"}, excluded_llm_metadata_keys=["city"]),
        TextNode(id_="d", text="red", relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc")}),
        IndexNode(id_="i", text="red", index_id="other"),
    ],
)
def test_a_stored_node_is_restored(node, images):
    assert item_to_node(to_hit(node_to_chunk(node, images)), None).to_dict() == node.to_dict()


def test_an_item_of_another_framework_has_its_text_and_metadata():
    hit = Hit("1", "text", "item:1", Locator(), 1.0, "red", metadata={"city": "Oslo"}, is_item=True)
    node = item_to_node(hit, None)
    assert (type(node), node.node_id, node.text, node.metadata) == (FencedTextNode, "1", "red", {"city": "Oslo"})


def test_an_item_with_an_image_becomes_a_node_with_it():
    hit = Hit("1", "image", "item:1", Locator(), 1.0, caption="a wall", is_item=True)
    node = item_to_node(hit, color_frame("blue"))
    assert isinstance(node, TextImageNode) and node.text == "a wall"
    np.testing.assert_allclose(pixels_of(node), color_frame("blue"), atol=8)


def test_the_image_of_a_hit_is_loaded_from_its_file(rag):
    hit = rag.search("red", k=1, kinds={"image"})[0]
    assert load_frame(rag, hit).shape[2] == 3
    assert load_frame(rag, rag.search("red", k=1, kinds={"text"})[0]) is None


def test_a_clip_is_represented_by_its_middle_keyframe(rag, monkeypatch):
    frames = tuple(color_frame(color) for color in ("blue", "red", "green"))
    monkeypatch.setattr(rag, "frames", lambda hit: frames)
    assert load_frame(rag, HIT) is frames[1]


def test_a_hit_whose_file_is_gone_has_no_image(rag):
    assert load_frame(rag, HIT) is None
