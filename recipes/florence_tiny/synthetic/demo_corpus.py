"""The demo corpus: photos, videos and documents of the imaginary town of Pebbleford, with searches and questions.

`make demo-corpus` writes the corpus to florence_rag/assets/demo, from where `florence-rag demo` copies it.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from recipes.florence_tiny.synthetic.clips import Motion, Shot, Subtitle, write_clip, write_srt
from recipes.florence_tiny.synthetic.documents import Page, PosterLine, draw_poster, write_pdf
from recipes.florence_tiny.synthetic.drawing import PALETTE, draw_scene
from recipes.florence_tiny.synthetic.scene import ROADS, TIMES, Backdrop, Scene, SceneObject, Time
from recipes.florence_tiny.synthetic.statements import Statement
from recipes.florence_tiny.synthetic.vocabulary import Description

ASSETS = Path(__file__).parents[3] / "florence_rag" / "assets" / "demo"
CORPUS_SEED, QUERY_SEED = 7, 8
"""Seeds of the weather and the small variations: of the photos, and of the query images that are not in the corpus."""
# Every layout lists five slots from left to right; "-" is an empty slot.
# Only photos/street-01.jpg has a car next to a fire hydrant.
PHOTOS = (
    "red car, -, blue car, yellow hydrant, green tree",
    "green car, -, red hydrant, -, white house",
    "yellow car, orange house, -, green tree, -",
    "-, white car, purple sign, -, black dog",
    "black car, red sign, -, orange car, blue person",
    "red hydrant, white dog, -, small green tree, -",
    "-, yellow hydrant, red person, -, purple bus",
    "green house, -, white hydrant, orange sign, -",
    "-, black hydrant, -, blue bicycle, red house",
    "purple bus, -, -, small green hydrant, yellow tree",
    "orange bus, white sign, -, purple person, small black dog",
    "red bus, -, blue house, yellow bicycle, -",
    "black dog, small white dog, -, red dog, green person",
    "-, purple dog, orange tree, -, blue sign",
    "blue person, small red person, -, green person, yellow person",
    "white bicycle, -, black bicycle, red house, -",
    "green bicycle, purple tree, -, -, red sign",
    "yellow house, small blue tree, -, white house, -",
    "red house, small orange house, green house, blue house, -",
    "blue bus, black person, -, white tree, -",
    "-, -, orange person, small red dog, purple house",
    "yellow sign, -, green dog, -, black bus",
    "white tree, green tree, small yellow tree, -, purple bicycle",
    "small red car, red bicycle, -, blue bus, -",
)
NOON = Backdrop()
POSTER_STREET = "yellow person, purple tree, -, small orange person, green person"
TIMETABLE_STREET = "white bus, -, blue sign, -, small orange tree"
NOTICE_STREET = "orange sign, small orange sign, -, yellow house, -"

POSTER = (
    PosterLine("SUMMER STREET FAIR", 58, PALETTE["red"]),
    PosterLine("Saturday 14 July 2029", 40),
    PosterLine("Market Place, Pebbleford", 40),
    PosterLine("Music, lanterns and pebble rolls", 30, PALETTE["purple"]),
    PosterLine("Opens at 2 pm - Admission free", 30),
)
TIMETABLE = (
    "Valid from 1 March 2029, every day except Sunday.",
    "Market Place 07:00 - Town Library 07:06 - Old Mill Bridge 07:13 - Harbour 07:22",
    "Then every twenty minutes until 21:40.",
    "Last ride back from the Harbour: 22:10.",
    "A single ticket costs 2.40, a day ticket 5.60. Children under six ride free.",
    "Lost something? Ask at the depot in Weir Street, telephone 555-0142.",
)
NOTICE = (
    "The Old Mill Bridge is closed from 3 to 9 September 2029.",
    "The granite of the third arch is being repaired by the firm Stonebridge & Daughters.",
    "During this week line four goes over the Swallow Bridge (six minutes longer).",
    "Pedestrians may use the ferry at the landing stage free of charge.",
    "The town hall apologises for the noise.",
)


def parse_layout(layout: str, backdrop: Backdrop = NOON, seed: int = 0) -> Scene:
    """Parse a layout such as "red car, -, small blue tree, -, -" into a scene."""
    objects = []
    for slot, words in enumerate(layout.split(", ")):
        if words != "-":
            *size, color, category = words.split()
            objects.append(SceneObject(category, color, "small" if size == ["small"] else "large", slot))
    return Scene(tuple(objects), backdrop, seed)


def photo_scenes(seed: int = CORPUS_SEED) -> dict[str, Scene]:
    """Return the file name and scene of every photo; the seed changes only the weather and small variations."""
    rng = random.Random(seed)
    return {
        _photo(number): parse_layout(layout, Backdrop(rng.choice(TIMES), rng.choice(ROADS)), rng.getrandbits(32))
        for number, layout in enumerate(PHOTOS, 1)
    }


def video_shots() -> dict[str, tuple[Shot, ...]]:
    """Return the file name and shots of every video; the light changes at every cut."""
    return {
        "videos/line-four.mp4": (
            _shot("yellow house, green tree, -, -, red sign", "noon", 3, Motion("bus", "purple")),
            _shot("-, orange house, -, small blue tree, black sign", "evening", 3, Motion("bus", "purple", "left")),
        ),
        "videos/runaway-dog.mp4": (
            _shot("red house, -, purple sign, -, yellow tree", "morning", 2.5, Motion("dog", "white")),
            _shot("-, small green tree, -, green house, -", "evening", 2.5, Motion("dog", "white", "left")),
        ),
        "videos/morning-ride.mp4": (
            _shot("white house, -, orange tree, -, -", "noon", 2, Motion("bicycle", "red")),
            _shot("-, -, black tree, small white sign, -", "evening", 2, Motion("bicycle", "red")),
            _shot("-, green sign, -, small yellow house, purple house", "noon", 2.5),
        ),
    }


SUBTITLES = {
    "videos/line-four.srt": (
        Subtitle(0.2, 2.8, "Every morning at seven, line four sets out for the harbour."),
        Subtitle(3.2, 5.8, "In the evening the driver rings the bell and comes home."),
    )
}


def _shot(layout: str, time: Time, seconds: float, motion: Motion | None = None) -> Shot:
    return Shot(parse_layout(layout, Backdrop(time, "plain"), seed=len(layout)), seconds, motion)


def write_demo_corpus(folder: Path, seed: int = CORPUS_SEED) -> None:
    """Write photos/, videos/ and documents/ to a folder: one megabyte in two seconds."""
    for name in ("photos", "videos", "documents"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, scene in photo_scenes(seed).items():
        draw_scene(scene).save(folder / name, quality=88)
    for name, shots in video_shots().items():
        write_clip(folder / name, shots)
    for name, subtitles in SUBTITLES.items():
        write_srt(folder / name, subtitles)
    _write_documents(folder / "documents")


def _write_documents(folder: Path) -> None:
    (folder / "chronicle.txt").write_bytes(Path(__file__).with_name("chronicle.txt").read_bytes())
    poster_scene = parse_layout(POSTER_STREET, Backdrop("evening", "plain"))
    draw_poster(POSTER, draw_scene(poster_scene, (720, 540))).save(folder / "fair.png")
    timetable, notice = (
        draw_scene(parse_layout(layout, seed=len(layout))) for layout in (TIMETABLE_STREET, NOTICE_STREET)
    )
    pages = [Page("Line 4: timetable", TIMETABLE, timetable), Page("Notice of street works", NOTICE, notice)]
    write_pdf(folder / "line-4.pdf", pages)


@dataclass(frozen=True, slots=True)
class DemoExample:
    """A search or question to try on the corpus, with the expected result.

    Attributes:
        task: "search" must find `file` first, "ask" must answer from `file`, "ask_image" asks about that image.
        text: The query or question; "" for a search by image alone.
        file: The expected file, relative to the corpus.
        answer: The expected answer, or a part of it.
        statement: A statement that holds in `file` and in no other image of the corpus.
        image: An image to search with, relative to the assets.
    """

    task: Literal["search", "ask", "ask_image"]
    text: str
    file: str
    answer: str = ""
    statement: Statement | None = None
    image: str = ""


def demo_examples() -> tuple[DemoExample, ...]:
    """Return the searches and questions of the demo."""
    return (*_searches(), *_image_searches(), *_questions(), *_image_questions())


def _searches() -> tuple[DemoExample, ...]:
    return (
        DemoExample("search", "a car parked next to a fire hydrant", _photo(1), statement=_next("car", "hydrant")),
        DemoExample(
            "search", "a purple dog beside an orange tree", _photo(14), statement=_next("purple dog", "orange tree")
        ),
        DemoExample(
            "search", "a person in black next to a blue bus", _photo(20), statement=_next("black person", "blue bus")
        ),
        DemoExample(
            "search",
            "a small blue tree to the left of a black sign",
            "videos/line-four.mp4",
            statement=Statement(_description("blue tree"), "left of", _description("black sign")),
        ),
        DemoExample("search", "the driver rings the bell", "videos/line-four.mp4"),
        DemoExample("search", "summer street fair", "documents/fair.png"),
        DemoExample("search", "how much is a day ticket", "documents/line-4.pdf"),
        DemoExample("search", "the bakery and its caraway rolls", "documents/chronicle.txt"),
    )


def _image_searches() -> tuple[DemoExample, ...]:
    return (
        DemoExample("search", "", _photo(14), image=_query_image(_photo(14))),
        DemoExample("search", "a blue car", _photo(1), image=_query_image(_photo(6))),
    )


def _questions() -> tuple[DemoExample, ...]:
    return (
        DemoExample(
            "ask", "What color is the car parked next to the fire hydrant?", _photo(1), "blue", _next("car", "hydrant")
        ),
        DemoExample(
            "ask", "What color is the bus next to the white sign?", _photo(11), "orange", _next("bus", "white sign")
        ),
        DemoExample(
            "ask", "What color is the dog beside the person in green?", _photo(13), "red", _next("dog", "green person")
        ),
        DemoExample(
            "ask", "What is next to the purple dog?", _photo(14), "tree", Statement(_description("purple dog"))
        ),
        DemoExample(
            "ask",
            "Is the white tree to the left or to the right of the yellow tree?",
            _photo(23),
            "left",
            Statement(_description("white tree"), None, _description("yellow tree")),
        ),
        DemoExample("ask", "Who built the clock tower?", "documents/chronicle.txt", "Anton Ferrier"),
        DemoExample("ask", "How many books does the library hold?", "documents/chronicle.txt", "27,000 books"),
        DemoExample("ask", "When is the Old Mill Bridge closed?", "documents/line-4.pdf", "3 to 9 September 2029"),
    )


def _image_questions() -> tuple[DemoExample, ...]:
    return (
        DemoExample("ask_image", "How many dogs are in the picture?", _photo(13), "3"),
        DemoExample("ask_image", "How many people can you see?", _photo(15), "4"),
        DemoExample("ask_image", "Is there a red car?", _photo(3), "no"),
        DemoExample("ask_image", "Is there a house next to a bicycle?", _photo(12), "yes"),
        DemoExample("ask_image", "Is the bus to the left or to the right of the red car?", _photo(24), "right"),
    )


def _photo(number: int) -> str:
    """Return the file name of a photo."""
    return f"photos/street-{number:02}.jpg"


def _query_image(photo: str) -> str:
    """Return the file name of the query image that shows the scene of a photo on another day."""
    return f"queries/{Path(photo).stem}.png"


def _description(words: str) -> Description:
    """Parse "red car" or "car"."""
    *color, name = words.split()
    return name, color[0] if color else None


def _next(subject: str, other: str) -> Statement:
    return Statement(_description(subject), "next to", _description(other))


def write_assets(folder: Path = ASSETS) -> None:
    """Write the corpus, the query images and examples.json to a folder."""
    write_demo_corpus(folder / "corpus")
    (folder / "queries").mkdir(parents=True, exist_ok=True)
    for name, scene in photo_scenes(QUERY_SEED).items():
        if any(example.image == _query_image(name) for example in demo_examples()):
            draw_scene(scene).save(folder / _query_image(name))
    records = [
        {"task": each.task, "text": each.text, "image": each.image, "file": each.file, "answer": each.answer}
        for each in demo_examples()
    ]
    (folder / "examples.json").write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")


def main(folder: Annotated[Path, typer.Argument(help="Where to write the files.")] = ASSETS) -> None:
    """Write the files of the demo."""
    write_assets(folder)


if __name__ == "__main__":
    typer.run(main)
