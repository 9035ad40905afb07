import base64
import io

import numpy as np
import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.chunking import read_image
from florence_rag.chunking.image_string import decode_base64, decode_image_string, is_inline_image
from florence_rag.errors import InputError
from florence_rag.testing import ColorEmbedder, MemoryIndex


def encode(format: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((50, 40), 70).convert("RGB").save(buffer, format)
    return buffer.getvalue()


PNG = encode("PNG")
BASE64 = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/png;base64,{BASE64}",
        f"DATA:Image/PNG;BASE64,{BASE64}",
        f"data:;base64,{BASE64}",
        f"data:image/png;charset=utf-8;name=a.png; base64,{BASE64}",
        f"  data:image/png;base64,\n{base64.encodebytes(PNG).decode()}\n",
        f"data:image/png;base64,{BASE64.rstrip('=')}",
        f"data:image/png;base64,{base64.urlsafe_b64encode(PNG).decode()}",
        f"data:image/png;base64,{BASE64.replace('+', '%2B').replace('/', '%2f').replace('=', '%3D')}",
        "data:image/png," + "".join(f"%{byte:02x}" for byte in PNG),
        "data:image/png,\n"
        + "".join(f"%{byte:02X}" for byte in PNG[:60])
        + "\r\n "
        + "".join(f"%{b:02X}" for b in PNG[60:]),
    ],
)
def test_a_data_uri_is_decoded_however_it_is_written(uri):
    assert decode_image_string(uri) == PNG
    assert is_inline_image(uri)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("encoder", [base64.b64encode, base64.encodebytes, base64.urlsafe_b64encode])
def test_bare_base64_of_an_image_is_decoded(format, encoder):
    data = encode(format)
    assert decode_image_string(encoder(data).decode()) == data


@pytest.mark.parametrize(
    "path",
    [
        "a.jpg",
        "photos/" + "a" * 80,
        "/" + "9j/" * 40 + "photo.jpg",
        "A" * 100,
        base64.b64encode(b"a plain text that is no image at all, and long enough to be taken for base64").decode(),
        "",
        "data: a chart, and a table",
        "file: what is in it",
    ],
)
def test_other_strings_are_paths(path):
    assert decode_image_string(path) == path
    assert not is_inline_image(path)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///photos/a.jpg", "/photos/a.jpg"),
        ("FILE:///photos/a.jpg", "/photos/a.jpg"),
        ("file:/photos/a.jpg", "/photos/a.jpg"),
        ("file://localhost/photos/a.jpg", "/photos/a.jpg"),
        ("file://LOCALHOST/photos/a%20b%23%C3%A9.jpg", "/photos/a b#é.jpg"),
        ("file:///photos/%ff.jpg", "/photos/\udcff.jpg"),
        ("file:///photos/talk.mp4#t=3,5", "/photos/talk.mp4"),
        (" file:///photos/a.jpg\n", "/photos/a.jpg"),
    ],
)
def test_a_file_url_is_a_path(url, path):
    assert decode_image_string(url) == path


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("data:image/png;base64", "has no comma"),
        ("data:image/png;base64,not*base64", "not valid base64"),
        ("data:image/png;base64,AAAAA", "not valid base64"),
        ("file:///C:/photos/a.jpg", "a drive of Windows"),
        ("file://C:/photos/a.jpg", "a drive of Windows"),
        ("file:C|/photos/a.jpg", "a drive of Windows"),
        ("file://server/share/a.jpg", "on the host 'server'"),
        ("file:photos/a.jpg", "no absolute path"),
        ("file://[/a.jpg", "is not a URL of a file"),
    ],
)
def test_a_string_that_names_no_image_of_this_machine_says_why(text, reason):
    with pytest.raises(InputError, match=reason):
        decode_image_string(text)


@pytest.mark.parametrize(
    "text", [BASE64, f"data:image/png;base64,{BASE64}", "data:image/png," + "".join(f"%{byte:02x}" for byte in PNG)]
)
def test_an_image_above_the_limit_is_refused(text):
    with pytest.raises(InputError, match="larger than"):
        decode_image_string(text, len(PNG) - 1)
    assert decode_image_string(text, len(PNG)) == PNG


def test_an_image_is_read_from_each_of_its_forms(tmp_path):
    file = tmp_path / "a b.png"
    file.write_bytes(PNG)
    for image in (BASE64, f"data:image/png;base64,{BASE64}", file.as_uri()):
        assert np.array_equal(read_image(image), read_image(file))
    with pytest.raises(InputError, match="blank file"):
        read_image("data:image/png;base64,AAAA")


def test_every_door_of_an_index_takes_them(tmp_path):
    red = tmp_path / "red.png"
    Image.new("RGB", (40, 40), "red").save(red)
    uri = f"data:image/png;base64,{base64.b64encode(red.read_bytes()).decode()}"
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), embedder, images=tmp_path / "images") as rag:
        stored = rag.items.upsert_images([uri, red.as_uri()], captions=["inline", "in a file"])
        assert [hit.score for hit in rag.search(image=uri)] == pytest.approx([1.0])
        assert rag.recommend([uri])[0].explanation == "similar to the given image (1.00)"
        assert not rag.recommend([red.as_uri()], seen=[uri])
        found = rag.classify([uri, red.as_uri(), "data:image/png;base64,AAAA"], labels=["red", "blue"])
        assert [image.label for image in found.images] == ["red", "red"]
        assert [image.source for image in found.images] == ["the given image", str(red)]
        assert [failure.source for failure in found.failed] == ["the given image"]
    assert len(stored) == 2


def test_base64_without_a_signature_is_decoded_where_nothing_else_is_expected():
    assert decode_base64(base64.encodebytes(b"\0\1\2").decode()) == b"\0\1\2"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("text", ["\r" * 200_000 + "!", "A" * 64 + " =" * 100_000 + "!", "data:," + "\ud800" * 9])
def test_any_string_is_decided_quickly(text):
    is_inline_image(text)
    decode_image_string(text)
