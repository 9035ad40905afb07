import pytest

from florence_rag.errors import InputError
from florence_rag.tasks.query_items import read_examples
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from florence_rag.types import Chunk, Source


@pytest.fixture
def index():
    index = MemoryIndex(ColorEmbedder.info)
    source = Source("/red", "image", 1, 1, "red")
    index.begin(source)
    index.add(
        [Chunk(source, "image", frames=(color_frame("red"),))], ColorEmbedder().embed_images([color_frame("red")])
    )
    return index


def fields(part):
    return part.text or part.image or part.id, part.box, part.weight


def test_examples_have_a_region_and_a_weight(index):
    id = next(index.find()).id
    like, unlike = [id, f"{id}@0,0,.5,1", "at night^0.5", "a.jpg@0,0,1,1^2"], ["x^2 + y", "2^10^3", "m@il"]
    parts = [fields(part) for part in read_examples(index, like, unlike, files=True)]
    assert parts == [
        (id, None, 1),
        (id, (0, 0, 0.5, 1), 1),
        ("at night", None, 0.5),
        ("a.jpg", (0, 0, 1, 1), 2),
        ("x^2 + y", None, -1),
        ("2^10", None, -3),
        ("m@il", None, -1),
    ]


def test_a_path_is_a_phrase_where_files_may_not_be_named(index, tmp_path):
    (part,) = read_examples(index, [str(tmp_path / "a.jpg")], files=False)
    assert part.text and part.image is None


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        ("fog^0", "weight of 'fog' is 0.0"),
        ("fog^-1", "weight of 'fog' is -1.0"),
        ("fog^nan", "weight of 'fog' is nan"),
        ("fog^inf", "weight is inf"),
        ("fog^1.2.3", "'1.2.3' is not a number"),
        ("fog@0,0,1,1", "a box is a part of an image"),
        ("a.jpg@0,0,2,1", "box is"),
        ("f" * 32, "no chunk has the id"),
    ],
)
def test_a_wrong_example_is_explained_in_one_line(index, example, message):
    with pytest.raises(InputError, match=message) as error:
        read_examples(index, [example], files=True)
    assert "\n" not in str(error.value)
