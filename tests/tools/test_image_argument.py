import base64
import os

import pytest

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.errors import InputError
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex
from florence_rag.tools import AskImage, FindSimilar, image_argument
from florence_rag.tools.image_argument import check_image

IMAGE = b"\x89PNG not decoded here"


@pytest.fixture
def root(tmp_path):
    """A folder that is open for paths, next to a file that is not."""
    (tmp_path / "secret.png").write_bytes(b"secret")
    folder = tmp_path / "open"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.png").write_bytes(IMAGE)
    return folder


def test_bytes_are_returned_unchanged():
    assert check_image(IMAGE, None) == IMAGE


def test_a_name_in_the_form_of_an_id_is_no_path(root):
    (root / ("0" * 32)).write_bytes(IMAGE)
    for folder in (None, root):
        with pytest.raises(InputError, match="no chunk has the id"):
            check_image(" " + "0" * 32 + "\n", folder)


@pytest.mark.parametrize("scheme", ["data:image/png;base64,", "DATA:image/svg+xml;BASE64,", " data:image/png;base64,"])
def test_a_data_uri_is_decoded(scheme):
    assert check_image(scheme + base64.b64encode(IMAGE).decode(), None) == IMAGE


@pytest.mark.parametrize("body", ["not base64!", "AAAAA", "é"])
def test_a_broken_data_uri_says_so(body):
    with pytest.raises(InputError, match="not valid base64"):
        check_image(f"data:image/png;base64,{body}", None)


@pytest.mark.parametrize("name", ["deep/a.png", "./deep/../deep/a.png", " deep/a.png "])
def test_a_path_in_the_opened_folder_is_read(root, name):
    assert check_image(name, root) == root / "deep" / "a.png"


def test_an_absolute_path_in_the_opened_folder_is_read(root):
    assert check_image(str(root / "deep" / "a.png"), str(root)) == root / "deep" / "a.png"


def test_the_opened_folder_may_itself_be_a_link(root, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(root)
    assert check_image("deep/a.png", link) == root / "deep" / "a.png"


@pytest.mark.parametrize("name", ["deep/a.png", "/etc/passwd", "~/a.png", "street.jpg"])
def test_without_an_opened_folder_there_are_no_paths(name):
    with pytest.raises(InputError, match="is not an id"):
        check_image(name, None)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "{outside}",
        "/etc/passwd",
        "deep",
        ".",
        "missing.png",
        "../missing.png",
        "a\0.png",
        "x" * 5000,
        "",
    ],
)
def test_a_file_outside_and_a_missing_file_have_the_same_message(root, tmp_path, name):
    name = name.replace("{outside}", str(tmp_path / "secret.png"))
    with pytest.raises(InputError) as refused:
        check_image(name, root)
    assert str(refused.value).startswith(f"there is no image {name!r:.80}")


def test_a_link_that_leads_out_is_refused(root, tmp_path):
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "loop.png").symlink_to(root / "loop.png")
    for name in ("link.png", "loop.png"):
        with pytest.raises(InputError, match="no image"):
            check_image(name, root)


def test_a_pipe_is_refused(root):
    os.mkfifo(root / "pipe.png")
    with pytest.raises(InputError, match="no image"):
        check_image("pipe.png", root)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "https://example.org/a.png",
        "s3://bucket/a.png",
    ],
)
def test_urls_are_never_fetched(root, url):
    with pytest.raises(InputError, match="URLs are not fetched"):
        check_image(url, root)


def test_a_file_url_obeys_the_rules_for_paths(root, tmp_path):
    inside, outside = (root / "deep" / "a.png").as_uri(), (tmp_path / "secret.png").as_uri()
    assert check_image(inside, root) == root / "deep" / "a.png"
    for url in (outside, f"{root.as_uri()}/../secret.png", f"{root.as_uri()}/%2e%2e/secret.png", "FILE:/etc/passwd"):
        with pytest.raises(InputError, match="no image"):
            check_image(url, root)
    for url in (inside, outside):
        with pytest.raises(InputError, match="is not an id"):
            check_image(url, None)


def test_a_file_url_of_another_machine_is_refused(root):
    with pytest.raises(InputError, match="on the host"):
        check_image("file://169.254.169.254/a.png", root)


def test_too_large_images_are_refused(monkeypatch):
    monkeypatch.setattr(image_argument, "MAX_BYTES", len(IMAGE) - 1)
    for image in (IMAGE, "data:image/png;base64," + base64.b64encode(IMAGE).decode()):
        with pytest.raises(InputError, match="larger than"):
            check_image(image, None)


@pytest.mark.parametrize(
    "id", ["cat", "photos/cat.png", "http://shop.example/42", "data:7", "'] or id != ['", "x" * 512]
)
def test_an_item_is_named_by_its_id(folder, tmp_path, id):
    """Any id is looked up, never opened or fetched."""
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, vqa=ColorVQA())) as rag:
        rag.items.upsert_images([folder / "blue.png"], ids=[id])
        result = AskImage(rag)(id, "What color is it?")
        assert result.artifact["answer"] == "blue"
        assert result.artifact["citations"][0]["id"] == id
        assert FindSimilar(rag)(id).artifact["hits"] == []
