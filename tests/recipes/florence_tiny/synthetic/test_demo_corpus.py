import hashlib
from itertools import chain

import av
import numpy as np
import pypdfium2
import pytest
from PIL import Image
from rapidocr import RapidOCR
from scenedetect import ContentDetector, detect

from recipes.florence_tiny.synthetic.demo_corpus import (
    ASSETS,
    NOTICE_STREET,
    POSTER_STREET,
    TIMETABLE_STREET,
    DemoExample,
    demo_examples,
    parse_layout,
    photo_scenes,
    video_shots,
    write_assets,
    write_demo_corpus,
)
from recipes.florence_tiny.synthetic.scene import HELD_OUT, Backdrop, Scene, SceneObject
from recipes.florence_tiny.synthetic.statements import Statement
from recipes.florence_tiny.synthetic.vocabulary import ANSWERS

PRINTED = {
    "documents/fair.png": [parse_layout(POSTER_STREET)],
    "documents/line-4.pdf": [parse_layout(TIMETABLE_STREET), parse_layout(NOTICE_STREET)],
}
SCENES = (
    {name: [scene] for name, scene in photo_scenes().items()}
    | {name: [shot.scene for shot in shots] for name, shots in video_shots().items()}
    | PRINTED
)
PASSERS = {name: [shot.motion for shot in shots if shot.motion] for name, shots in video_shots().items()}
EXAMPLES = demo_examples()
names = [f"{each.task}: {each.text}" for each in EXAMPLES]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_demo_corpus(folder)
    return folder


def digests(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_layout_is_parsed():
    scene = parse_layout("red car, -, small blue tree, -, yellow hydrant", Backdrop("evening", "plain"), 3)
    car, tree, hydrant = (
        SceneObject("car", "red", "large", 0),
        SceneObject("tree", "blue", "small", 2),
        SceneObject("hydrant", "yellow", "large", 4),
    )
    assert scene == Scene((car, tree, hydrant), Backdrop("evening", "plain"), 3)


@pytest.mark.slow
def test_the_corpus_has_all_files_and_equal_bytes_every_time(corpus, tmp_path):
    write_demo_corpus(tmp_path)
    first = digests(corpus)
    assert first == digests(tmp_path)
    expected = {*SCENES, "videos/line-four.srt", "documents/chronicle.txt"}
    assert set(first) == expected and len(photo_scenes()) == 24


@pytest.mark.slow
def test_the_package_ships_the_corpus_that_the_recipe_draws(tmp_path):
    """Encoders may write other bytes on another machine, so pixels and texts are compared."""
    write_assets(tmp_path)
    shipped = {path.relative_to(ASSETS) for path in ASSETS.rglob("*.*")}
    assert shipped == {path.relative_to(tmp_path) for path in tmp_path.rglob("*.*")}
    for name in shipped:
        for drawn, ours in zip(content(tmp_path / name), content(ASSETS / name), strict=True):
            if isinstance(drawn, np.ndarray):
                assert np.abs(drawn.astype(int) - ours).mean() < 2, name
            else:
                assert drawn == ours, name


def content(path):
    """Return the frames of an image or video, or the texts of a document."""
    if path.suffix == ".mp4":
        with av.open(str(path)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    if path.suffix in (".jpg", ".png"):
        return [np.asarray(Image.open(path))]
    if path.suffix == ".pdf":
        with pypdfium2.PdfDocument(path) as document:
            pages = [(page.get_textpage().get_text_range(), page.render().to_numpy()) for page in document]
            return [part for page in pages for part in page]
    return [path.read_text("utf-8")]


def test_another_seed_changes_the_photos_but_not_their_scenes():
    one, other = photo_scenes(7), photo_scenes(8)
    assert {name: scene.objects for name, scene in one.items()} == {
        name: scene.objects for name, scene in other.items()
    }
    assert one != other


def test_photos_are_jpeg_images_of_the_right_size(corpus):
    for name in photo_scenes():
        with Image.open(corpus / name) as image:
            assert image.format == "JPEG" and image.size == (640, 480)


@pytest.mark.parametrize("name", video_shots())
def test_videos_are_short_and_their_shots_can_be_detected(corpus, name):
    shots = video_shots()[name]
    with av.open(str(corpus / name)) as container:
        seconds = float(container.streams.video[0].duration * container.streams.video[0].time_base)
    assert seconds == pytest.approx(sum(shot.seconds for shot in shots), abs=0.1) and 4 <= seconds <= 8
    assert len(detect(str(corpus / name), ContentDetector())) == len(shots) >= 2


def test_only_seen_combinations_are_shown():
    objects = [obj.combination for scene in chain(*SCENES.values()) for obj in scene.objects]
    passing = [(motion.color, motion.category) for motion in chain(*PASSERS.values())]
    assert not {*objects, *passing} & HELD_OUT


def test_the_corpus_is_full_of_cars_and_hydrants_that_do_not_belong_together():
    car, hydrant = Statement(("car", None)), Statement(("hydrant", None))
    scenes = list(chain(*SCENES.values()))
    together = [scene for scene in scenes if Statement(("car", None), "next to", ("hydrant", None)).holds(scene)]
    assert together == [photo_scenes()["photos/street-01.jpg"]]
    assert sum(car.holds(scene) and not hydrant.holds(scene) for scene in scenes) >= 4
    assert sum(hydrant.holds(scene) and not car.holds(scene) for scene in scenes) >= 4
    assert sum(hydrant.holds(scene) and car.holds(scene) for scene in scenes) >= 2


@pytest.mark.parametrize("example", EXAMPLES, ids=names)
def test_the_statement_of_an_example_holds_in_one_image_only(example: DemoExample):
    assert example.file in SCENES or example.file == "documents/chronicle.txt"
    if example.statement is not None:
        assert {name for name, scenes in SCENES.items() if any(map(example.statement.holds, scenes))} == {example.file}


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.statement], ids=lambda e: e.text)
def test_no_moving_object_matches_an_example(example: DemoExample):
    """A passer moves, so it counts as near everything in its shot."""
    for name, shots in video_shots().items():
        for shot in shots:
            fits = [_fits(shot, description) for description in example.statement.descriptions]
            assert not all(fits) or name == example.file


def _fits(shot, description):
    shown = [(obj.category, obj.color) for obj in shot.scene.objects]
    if shot.motion:
        shown.append((shot.motion.category, shot.motion.color))
    return any(name == description[0] and description[1] in (None, color) for name, color in shown)


EXPECTED = {
    "What color is the car parked next to the fire hydrant?": "blue",
    "What color is the bus next to the white sign?": "orange",
    "What color is the dog beside the person in green?": "red",
}


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if e.statement and e.statement.relation == "next to"], ids=lambda e: e.text
)
def test_answers_about_colors_are_right(example: DemoExample):
    scene = SCENES[example.file][0]
    (name, color), (other, tint) = example.statement.descriptions
    anchors = [t for t in scene.objects if t.category == other and tint in (None, t.color)]
    fitting = {t.color for t in scene.objects for a in anchors if t.category == name and abs(t.slot - a.slot) == 1}
    assert len(anchors) == 1 and len(fitting) == 1
    if example.task == "ask":
        assert fitting == {example.answer} == {EXPECTED[example.text]}
    else:
        assert color in (None, *fitting)


def test_the_other_answers_about_images_are_right():
    by_text = {example.text: example for example in EXAMPLES}

    def objects(text):
        return SCENES[by_text[text].file][0].objects

    def check(text, answer):
        assert by_text[text].answer == answer and answer in ANSWERS

    text = "What is next to the purple dog?"
    dog = next(t for t in objects(text) if (t.color, t.category) == ("purple", "dog"))
    check(text, *[t.category for t in objects(text) if abs(t.slot - dog.slot) == 1])
    text = "Is the white tree to the left or to the right of the yellow tree?"
    slots = {t.color: t.slot for t in objects(text) if t.category == "tree"}
    check(text, "left" if slots["white"] < slots["yellow"] else "right")
    text = "Is the bus to the left or to the right of the red car?"
    slots = {t.category: t.slot for t in objects(text)}
    check(text, "left" if slots["bus"] < slots["car"] else "right")
    text = "How many dogs are in the picture?"
    check(text, str(sum(t.category == "dog" for t in objects(text))))
    text = "How many people can you see?"
    check(text, str(sum(t.category == "person" for t in objects(text))))
    text = "Is there a red car?"
    check(text, "yes" if any((t.color, t.category) == ("red", "car") for t in objects(text)) else "no")
    text = "Is there a house next to a bicycle?"
    near = Statement(("house", None), "next to", ("bicycle", None)).holds(SCENES[by_text[text].file][0])
    check(text, "yes" if near else "no")


def test_answers_from_documents_are_in_their_text(corpus):
    document = pypdfium2.PdfDocument(corpus / "documents/line-4.pdf")
    pdf = " ".join(page.get_textpage().get_text_range() for page in document)
    document.close()
    texts = {
        "documents/line-4.pdf": pdf,
        "documents/chronicle.txt": (corpus / "documents/chronicle.txt").read_text("utf-8"),
    }
    asked = [e for e in EXAMPLES if e.task == "ask" and e.file in texts]
    assert len(asked) >= 3
    for example in asked:
        assert example.answer in texts[example.file]


def test_the_chronicle_is_long_and_says_nothing_about_the_photos(corpus):
    text = (corpus / "documents/chronicle.txt").read_text("utf-8")
    assert 550 <= len(text.split()) <= 800
    assert not {"hydrant", "parked", "car"} & set(text.lower().split())


def test_ocr_reads_the_poster(corpus):
    read = RapidOCR(params={"Global.log_level": "critical"})(str(corpus / "documents/fair.png"))
    words = " ".join(read.txts).lower().replace(" ", "")
    for expected in ("summerstreetfair", "14july2029", "marketplace", "pebbleford"):
        assert expected in words
