"""The demo corpus: photos, films and papers of the drawn town of Pebbleford, and what can be asked about them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recipes.florence_tiny.synthetic.clips import Motion, Shot, Subtitle, write_clip, write_srt
from recipes.florence_tiny.synthetic.documents import Page, PosterLine, draw_poster, write_pdf
from recipes.florence_tiny.synthetic.drawing import PALETTE, draw_scene
from recipes.florence_tiny.synthetic.scene import ROADS, TIMES, Backdrop, Scene, SceneObject, Size, Time
from recipes.florence_tiny.synthetic.statements import Statement

# Five slots from left to right, "-" for an empty one. Only photos/street-01.jpg has a car next to a fire hydrant.
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
    """A scene from words: "red car, -, small blue tree, -, -"."""
    objects = []
    for slot, words in enumerate(layout.split(", ")):
        if words != "-":
            *size, color, name = words.split()
            objects.append(SceneObject(name, color, _size(size), slot))
    return Scene(tuple(objects), backdrop, seed)


def _size(words: list[str]) -> Size:
    return "small" if words == ["small"] else "large"


def photo_scenes(seed: int = 7) -> dict[str, Scene]:
    """File name and scene of every photo. The seed changes weather and small variations only."""
    rng = random.Random(seed)
    return {
        f"photos/street-{number:02}.jpg": parse_layout(layout, _backdrop(rng), rng.getrandbits(32))
        for number, layout in enumerate(PHOTOS, 1)
    }


def _backdrop(rng: random.Random) -> Backdrop:
    return Backdrop(rng.choice(TIMES), rng.choice(ROADS))


def video_shots() -> dict[str, tuple[Shot, ...]]:
    """File name and shots of every film. The light changes from shot to shot, as cuts do in life."""
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


def write_demo_corpus(folder: Path, seed: int = 7) -> None:
    """Fill a folder with photos/, videos/ and papers/. One megabyte, two seconds."""
    for name in ("photos", "videos", "papers"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, scene in photo_scenes(seed).items():
        draw_scene(scene).save(folder / name, quality=88)
    for name, shots in video_shots().items():
        write_clip(folder / name, shots)
    for name, subtitles in SUBTITLES.items():
        write_srt(folder / name, subtitles)
    _write_papers(folder / "papers")


def _write_papers(folder: Path) -> None:
    chronicle = Path(__file__).with_name("chronicle.txt")
    (folder / "chronicle.txt").write_bytes(chronicle.read_bytes())
    draw_poster(POSTER, draw_scene(parse_layout(POSTER_STREET, Backdrop("evening", "plain")), (720, 540))).save(
        folder / "fair.png"
    )
    timetable, notice = (
        draw_scene(parse_layout(layout, seed=len(layout))) for layout in (TIMETABLE_STREET, NOTICE_STREET)
    )
    pages = [Page("Line 4: timetable", TIMETABLE, timetable), Page("Notice of street works", NOTICE, notice)]
    write_pdf(folder / "line-4.pdf", pages)


@dataclass(frozen=True, slots=True)
class DemoExample:
    """Something to try, and what must come of it.

    task: "search" finds `file`; "ask" answers from `file`; "look" is a question about that one picture.
    answer: one of the world's ANSWERS, or for a paper the words that the quoted passage must contain.
    claim: what the words say is in the picture; it holds in `file` and in no other picture of the corpus.
    """

    task: Literal["search", "ask", "look"]
    text: str
    file: str
    answer: str = ""
    statement: Statement | None = None


def demo_examples() -> tuple[DemoExample, ...]:
    """The searches and questions of the demo."""
    return (*_searches(), *_questions(), *_looks())


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
            statement=Statement(_thing("blue tree"), "left of", _thing("black sign")),
        ),
        DemoExample("search", "the driver rings the bell", "videos/line-four.mp4"),
        DemoExample("search", "summer street fair", "papers/fair.png"),
        DemoExample("search", "how much is a day ticket", "papers/line-4.pdf"),
        DemoExample("search", "the bakery and its caraway rolls", "papers/chronicle.txt"),
    )


def _questions() -> tuple[DemoExample, ...]:
    return (
        DemoExample(
            "ask", "What colour is the car parked next to the fire hydrant?", _photo(1), "blue", _next("car", "hydrant")
        ),
        DemoExample(
            "ask", "What color is the bus next to the white sign?", _photo(11), "orange", _next("bus", "white sign")
        ),
        DemoExample(
            "ask", "What colour is the dog beside the person in green?", _photo(13), "red", _next("dog", "green person")
        ),
        DemoExample("ask", "What is next to the purple dog?", _photo(14), "tree", Statement(_thing("purple dog"))),
        DemoExample(
            "ask",
            "Is the white tree to the left or to the right of the yellow tree?",
            _photo(23),
            "left",
            Statement(_thing("white tree"), None, _thing("yellow tree")),
        ),
        DemoExample("ask", "Who built the clock tower?", "papers/chronicle.txt", "Anton Ferrier"),
        DemoExample("ask", "How many books does the library hold?", "papers/chronicle.txt", "27,000 books"),
        DemoExample("ask", "When is the Old Mill Bridge closed?", "papers/line-4.pdf", "3 to 9 September 2029"),
    )


def _looks() -> tuple[DemoExample, ...]:
    return (
        DemoExample("look", "How many dogs are in the picture?", _photo(13), "3"),
        DemoExample("look", "How many people can you see?", _photo(15), "4"),
        DemoExample("look", "Is there a red car?", _photo(3), "no"),
        DemoExample("look", "Is there a house next to a bicycle?", _photo(12), "yes"),
        DemoExample("look", "Is the bus to the left or to the right of the red car?", _photo(24), "right"),
    )


def _photo(number: int) -> str:
    return f"photos/street-{number:02}.jpg"


def _thing(words: str) -> tuple[str, str | None]:
    *color, name = words.split()
    return name, color[0] if color else None


def _next(subject: str, other: str) -> Statement:
    return Statement(_thing(subject), "next to", _thing(other))
