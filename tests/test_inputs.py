"""Sources other than files go through the same stages as files, and their images can be loaded again."""

import fsspec
import pytest
from PIL import Image

from florence_rag.chunking import ChunkingConfig
from florence_rag.context import Models
from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.ingest.engine import IngestConfig
from florence_rag.loading.loaders import EMBEDDER
from florence_rag.rag import FlorenceRAG
from florence_rag.sources.io import Columns
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, color_frame, color_shares
from tests.chunking.office_samples import docx, paragraph
from tests.chunking.samples import make_pdf, shots, write_video
from tests.sources.io.makers import Page, png, serving, write_parquet, write_tar


@pytest.fixture(params=["memory", "milvus"])
def rag(request, tmp_path):
    info = ColorEmbedder.info
    index = MemoryIndex(info) if request.param == "memory" else MilvusIndex.open(str(tmp_path / "x.db"), info)
    models = Models.of(ColorEmbedder(), vqa=ColorVQA())
    with FlorenceRAG(index, models, ingest=IngestConfig(threads=1)) as rag:
        yield rag


class ReadSources(set):
    """The uris of the sources that are read, as the progress reports them."""

    def __call__(self, step):
        self.add(step.source)


@pytest.fixture
def colors(tmp_path):
    """Yield a site and sources with one red, one green and one blue image: in a tar, in a table, at a URL."""
    write_tar(tmp_path / "a.tar", {"1.png": png("red"), "1.txt": "crimson", "1.json": '{"city": "Rome"}'})
    write_parquet(tmp_path / "p.parquet", {"image": [png("green")], "caption": ["emerald"], "n": [7]})
    with serving({"/blue.png": Page(png("blue"), {"ETag": "1"}), "/gone.png": Page(status=404)}) as site:
        yield site, [tmp_path / "a.tar", tmp_path / "p.parquet", f"{site.url}/blue.png"]


def counts(report):
    return report.added, report.updated, report.unchanged, report.removed, len(report.failed)


def color_of(rag, hit):
    return color_shares(rag.frames(hit)[0]).round(1).tolist()


def test_each_is_indexed_found_and_loaded_again(rag, colors):
    _, paths = colors
    assert counts(rag.add(*paths)) == (3, 0, 0, 0, 0)
    for color, scheme in (("red", "tar:"), ("green", "parquet:"), ("blue", "http:")):
        hit = rag.search(color, k=1)[0]
        assert hit.source.startswith(scheme)
        assert color_of(rag, hit) == color_shares(color_frame(color)).round(1).tolist()
        assert rag.ask_image(hit.id, "What color is it?").answer == color
    hit = rag.search("crimson", k=1)[0]
    assert (hit.caption, hit.metadata["city"]) == ("crimson", "Rome")
    assert rag.search("emerald", k=1)[0].metadata["n"] == 7
    read = ReadSources()
    assert counts(rag.add(*paths, progress=read)) == (0, 0, 3, 0, 0)
    assert read == set()


def test_what_changes_is_replaced_and_what_goes_is_forgotten_when_asked(rag, tmp_path):
    tar = write_tar(tmp_path / "a.tar", {"1.png": png("red"), "2.png": png("blue")})
    rag.add(tar)
    write_tar(tar, {"1.png": png("red"), "3.png": png("green")})
    read = ReadSources()
    assert counts(rag.add(tar, progress=read)) == (1, 0, 1, 0, 0)
    assert read == {f"tar:{tar}#3.png"}
    assert counts(rag.add(tar, prune=True)) == (0, 0, 2, 1, 0)
    assert {hit.source for hit in rag.search("blue", k=9)} == {f"tar:{tar}#1.png", f"tar:{tar}#3.png"}


def test_a_damaged_container_loses_nothing_that_is_indexed(rag, tmp_path):
    members = {f"{i}.png": png(color) for i, color in enumerate(["red", "green", "blue"])}
    tar = write_tar(tmp_path / "a.tar", members)
    rag.add(tar)
    whole = tar.read_bytes()
    tar.write_bytes(whole[:1024])
    assert len(rag.add(tar, prune=True).failed) == 1
    assert len(rag.index.sources()) == 3
    assert [failure.source for failure in rag.index.failures()] == [str(tar)]
    tar.write_bytes(whole)
    assert counts(rag.add(tar)) == (0, 0, 3, 0, 0)
    assert rag.index.failures() == ()


def test_a_server_that_is_away_takes_nothing_with_it(rag, colors):
    site, (*_, url) = colors
    rag.add(url)
    site.pages["/blue.png"] = Page(status=503)
    report = rag.add(url, prune=True)
    assert "503" in report.failed[0].reason
    assert list(rag.index.sources()) == [url] and rag.index.failures() == ()


def test_failures_are_told_one_by_one_and_tried_again(rag, colors, tmp_path):
    site, _ = colors
    site.pages |= {
        "/page.png": Page(b"<!DOCTYPE html><p>Sign in", {"ETag": "1"}),
        "/cut.png": Page(png("red"), {"ETag": "1"}, claimed_bytes=9_999),
    }
    names = ("gone.png", "page.png", "cut.png", "blue.png")
    listed = [*(f"{site.url}/{name}" for name in names), "nowhere.png", "http://127.0.0.1:1/a.png", "zzz://a/b.png"]
    report = rag.add(listed=listed)
    assert counts(report) == (1, 0, 0, 0, 6)
    reasons = {failure.source.rpartition("/")[2]: failure.reason for failure in report.failed}
    assert "404" in reasons["gone.png"]
    assert "it starts like an HTML page" in reasons["page.png"]
    assert "broke off" in reasons["cut.png"]
    assert "does not exist" in reasons["nowhere.png"]
    assert "cannot be reached" in reasons["a.png"]
    assert "no known protocol" in reasons["b.png"]
    site.pages["/gone.png"] = site.pages["/cut.png"] = Page(png("green"), {"ETag": "2"})
    again = rag.retry_failures()
    assert {change.source.rpartition("/")[2] for change in again.changes} == {"gone.png", "cut.png"}


def test_bad_items_stop_nothing(rag, tmp_path):
    tar = write_tar(
        tmp_path / "a.tar", {"1.png": b"no picture", "2.png": png("red"), "3.png": png("blue"), "3.json": "{"}
    )
    table = write_parquet(tmp_path / "p.parquet", {"image": [b"no picture", png("green"), None]})
    report = rag.add(tar, table)
    assert counts(report) == (2, 0, 0, 0, 3)
    again = rag.add(tar, table)
    assert counts(again) == (0, 0, 2, 0, 3)
    assert report.skipped_counts == again.skipped_counts == {"row without image": 1}


def test_columns_are_named(rag, tmp_path):
    table = write_parquet(tmp_path / "p.parquet", {"a": [png("red")], "b": [png("blue")], "said": ["azure"]})
    rag.add(table, columns=Columns("b", "said"))
    assert rag.search("azure", k=1)[0].source.endswith("#row=0&image=b&caption=said")
    with pytest.raises(InputError, match="nothing to index"):
        rag.add(listed=[])


def test_videos_pages_and_texts_lie_elsewhere_too(rag, tmp_path):
    write_video(tmp_path / "film.mp4", shots(1.0, 1.0))
    tar = write_tar(
        tmp_path / "a.tar",
        {"film.mp4": (tmp_path / "film.mp4").read_bytes(), "doc.pdf": make_pdf(["Words on a page"]), "n.md": "A note."},
    )
    pages = {
        "/film.mp4": Page((tmp_path / "film.mp4").read_bytes(), {"ETag": "1"}),
        "/doc.pdf": Page(make_pdf(["Words on a page"]), {"ETag": "1"}),
        "/note": Page(b"<!DOCTYPE html><title>T</title><p>A note.", {"ETag": "1", "Content-Type": "text/html"}),
    }
    with serving(pages) as site:
        report = rag.add(tar, *(f"{site.url}{path}" for path in pages))
        assert counts(report) == (6, 0, 0, 0, 0)
        hits = list(rag.index.find())
        assert {hit.kind for hit in hits} == {"clip", "page", "text"}
        assert all(rag.frames(hit) for hit in hits if hit.kind != "text")
        assert [hit.text for hit in hits if hit.source.endswith("/note")] == ["A note."]


def test_files_in_a_bucket_are_indexed(rag):
    system = fsspec.filesystem("memory")
    system.pipe({"/in/red.png": png("red"), "/in/deep/blue.png": png("blue")})
    try:
        assert counts(rag.add("memory://in")) == (2, 0, 0, 0, 0)
        assert color_of(rag, rag.search("blue", k=1)[0]) == color_shares(color_frame("blue")).round(1).tolist()
        system.rm("/in/red.png")
        assert counts(rag.add("memory:///in", prune=True)) == (0, 0, 1, 1, 0)
    finally:
        system.rm("/in", recursive=True)


def test_a_copy_of_a_file_in_a_tar_is_not_read_again(rag, tmp_path):
    (tmp_path / "red.png").write_bytes(png("red"))
    rag.add(tmp_path / "red.png")
    assert counts(rag.add(write_tar(tmp_path / "a.tar", {"1.png": png("red")}))) == (1, 0, 0, 0, 0)
    assert color_of(rag, rag.search("red", k=1, filter={"source": f"tar:{tmp_path}/a.tar#1.png"})[0])


@pytest.mark.parametrize("image", ["tar:{}/a.tar#1.png", "parquet:{}/p.parquet#row=0&image=image", "memory://in/a.png"])
def test_an_image_argument_never_opens_containers_or_remote_files(rag, colors, image, tmp_path):
    """Strings that an agent passes are treated as paths or ids only."""
    with pytest.raises(InputError):
        rag.ask_image(image.format(tmp_path), "What color is it?")
    with pytest.raises(InputError):
        rag.search(image=image.format(tmp_path))


def test_an_image_argument_never_fetches_a_url(rag, colors):
    site, (*_, url) = colors
    with pytest.raises(InputError, match="URLs are not fetched"):
        rag.ask_image(url, "What color is it?")
    assert site.requests == []


def test_chunking_is_chosen_when_a_database_is_opened(tmp_path, monkeypatch):
    monkeypatch.setitem(EMBEDDER.loaders, "florence", lambda card, loader: ColorEmbedder())
    Image.fromarray(color_frame("red", size_px=200)).save(tmp_path / "red.png")
    seen, embed = [], ColorEmbedder.embed_images
    monkeypatch.setattr(ColorEmbedder, "embed_images", lambda self, frames: seen.extend(frames) or embed(self, frames))
    chunking = ChunkingConfig(image_side_px=64)
    with FlorenceRAG.open(tmp_path / "x.db", "florence-tiny", ocr="never", chunking=chunking) as rag:
        rag.add(tmp_path / "red.png")
    assert [frame.shape for frame in seen] == [(64, 64, 3)]


def test_the_text_and_each_image_of_an_office_document_are_found_and_asked(rag, tmp_path):
    images = {f"word/media/{color}.png": png(color) for color in ("red", "blue")}
    (tmp_path / "a.docx").write_bytes(docx(paragraph("The numbat eats ants."), images))
    assert rag.add(tmp_path / "a.docx").added == 1
    assert [hit.text for hit in rag.search("numbat", kinds=["text"])] == ["The numbat eats ants."]
    for color in ("red", "blue"):
        hit = next(hit for hit in rag.search(color, group=False) if hit.kind == "image")
        assert hit.locator.part == f"word/media/{color}.png"
        assert color_shares(rag.frames(hit)[0]).argmax() == color_shares(color_frame(color)).argmax()
        assert rag.ask_image(hit.id, "What color is it?").answer == color
    (tmp_path / "a.docx").unlink()
    assert rag.add(tmp_path, prune=True).removed == 1
