"""Datasets of Hugging Face, and other sequences of rows."""

import datasets
import pytest

from florence_rag.errors import InputError
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from tests.sources.io.makers import png

COLORS = ["red", "green", "blue"]


@pytest.fixture
def rag(tmp_path):
    return FlorenceRAG(MemoryIndex(ColorEmbedder.info), ColorEmbedder(), images=tmp_path / "images")


def dataset(colors=COLORS):
    rows = {
        "photo": [{"bytes": png(color), "path": None} for color in colors],
        "text": [f"all {color}" for color in colors],
        "label": list(range(len(colors))),
    }
    made = datasets.Dataset.from_dict(rows).cast_column("photo", datasets.Image())
    return made.cast_column("label", datasets.ClassLabel(names=COLORS))


class Rows:
    """Not of `datasets`: a list with what add_dataset needs."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        if isinstance(self.rows[row], Exception):
            raise self.rows[row]
        return self.rows[row]


def counts(report):
    return report.added, report.updated, report.unchanged, report.removed, len(report.failed)


def test_a_dataset_is_indexed_once_with_captions_and_classes(rag):
    assert counts(rag.add_dataset(dataset())) == (3, 0, 0, 0, 0)
    hit = rag.search("green", k=1)[0]
    assert (hit.caption, hit.metadata["label"]) == ("all green", "green")
    assert (rag.frames(hit)[0] == color_frame("green")).all()
    assert counts(rag.add_dataset(dataset())) == (0, 0, 3, 0, 0)


def test_the_bytes_of_image_files_are_copied_unchanged(rag, tmp_path):
    rag.add_dataset(dataset())
    (tar,) = (tmp_path / "images").glob("*.tar")
    assert all(png(color) in tar.read_bytes() for color in COLORS)


def test_selected_and_mapped_rows_are_indexed(rag):
    picked = dataset().shuffle(seed=1).filter(lambda row: row["label"] != 2).map(lambda row: {"text": "mapped"})
    assert counts(rag.add_dataset(picked)) == (2, 0, 0, 0, 0)
    assert {hit.caption for hit in rag.search("mapped", k=5)} == {"mapped"}


def test_another_dataset_under_a_name_replaces_the_first(rag):
    rag.add_dataset(dataset(), name="colors")
    report = rag.add_dataset(dataset(["red", "blue"]), name="colors")
    assert counts(report) == (0, 1, 1, 1, 0)


def test_any_sequence_of_rows_is_a_dataset(rag):
    rows = Rows([{"image": color_frame(color), "caption": f"all {color}", "n": i} for i, color in enumerate(COLORS)])
    assert counts(rag.add_dataset(rows, name="rows")) == (3, 0, 0, 0, 0)
    assert rag.search("all blue", k=1)[0].metadata["n"] == 2
    assert counts(rag.add_dataset(rows, name="rows")) == (0, 0, 3, 0, 0)


def test_bad_rows_are_failures_and_the_others_are_indexed(rag, tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(png("red"))
    cells = [{"image": None}, OSError("no such row"), {"image": str(path)}, {"image": b"no image"}, {"image": 7}]
    report = rag.add_dataset(Rows([{"image": png("green")}, *cells]), name="rows")
    assert counts(report) == (2, 0, 0, 0, 4)


def test_wrong_arguments_are_errors_with_a_reason(rag):
    with pytest.raises(InputError, match="needs a name"):
        rag.add_dataset(Rows([{"image": png("red")}]))
    with pytest.raises(InputError, match="needs a name"):
        rag.add_dataset(dataset(), name="../up")
    with pytest.raises(InputError, match="no rows"):
        rag.add_dataset(Rows([]), name="rows")
    with pytest.raises(InputError, match="no column 'picture'; its columns are photo, text, label"):
        rag.add_dataset(dataset(), image="picture")
    with pytest.raises(InputError, match="no column of images"):
        rag.add_dataset(Rows([{"a": 1}]), name="rows")


def test_without_a_folder_for_images_a_dataset_is_refused():
    rag = FlorenceRAG(MemoryIndex(ColorEmbedder.info), ColorEmbedder())
    with pytest.raises(InputError, match="no folder for images"):
        rag.add_dataset(dataset())
