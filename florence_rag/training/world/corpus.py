"""The demo corpus: photos, films and papers of the drawn town of Pebbleford, and what can be asked about them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from florence_rag.training.world.clips import Motion, Shot, Subtitle, write_clip, write_srt
from florence_rag.training.world.draw import PALETTE, draw
from florence_rag.training.world.papers import Line, Page, draw_poster, write_pdf
from florence_rag.training.world.scene import ROADS, TIMES, Backdrop, Scene, Size, Thing, Time
from florence_rag.training.world.words import Claim

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
    Line("SUMMER STREET FAIR", 58, PALETTE["red"]),
    Line("Saturday 14 July 2029", 40),
    Line("Market Place, Pebbleford", 40),
    Line("Music, lanterns and pebble rolls", 30, PALETTE["purple"]),
    Line("Opens at 2 pm - Admission free", 30),
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


def street(layout: str, backdrop: Backdrop = NOON, seed: int = 0) -> Scene:
    """A scene from words: "red car, -, small blue tree, -, -"."""
    things = []
    for slot, words in enumerate(layout.split(", ")):
        if words != "-":
            *size, color, name = words.split()
            things.append(Thing(name, color, _size(size), slot))
    return Scene(tuple(things), backdrop, seed)


def _size(words: list[str]) -> Size:
    return "small" if words == ["small"] else "large"


def photos(seed: int = 7) -> dict[str, Scene]:
    """File name and scene of every photo. The seed changes weather and small variations only."""
    rng = random.Random(seed)
    return {
        f"photos/street-{number:02}.jpg": street(layout, _backdrop(rng), rng.getrandbits(32))
        for number, layout in enumerate(PHOTOS, 1)
    }


def _backdrop(rng: random.Random) -> Backdrop:
    return Backdrop(rng.choice(TIMES), rng.choice(ROADS))


def films() -> dict[str, tuple[Shot, ...]]:
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
    return Shot(street(layout, Backdrop(time, "plain"), seed=len(layout)), seconds, motion)


def draw_corpus(folder: Path, seed: int = 7) -> None:
    """Fill a folder with photos/, videos/ and papers/. One megabyte, two seconds."""
    for name in ("photos", "videos", "papers"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, scene in photos(seed).items():
        draw(scene).save(folder / name, quality=88)
    for name, shots in films().items():
        write_clip(folder / name, shots)
    for name, subtitles in SUBTITLES.items():
        write_srt(folder / name, subtitles)
    _write_papers(folder / "papers")


def _write_papers(folder: Path) -> None:
    chronicle = resources.files("florence_rag.training.world").joinpath("chronicle.txt")
    (folder / "chronicle.txt").write_bytes(chronicle.read_bytes())
    draw_poster(POSTER, draw(street(POSTER_STREET, Backdrop("evening", "plain")), (720, 540))).save(folder / "fair.png")
    timetable, notice = (draw(street(layout, seed=len(layout))) for layout in (TIMETABLE_STREET, NOTICE_STREET))
    pages = [Page("Line 4: timetable", TIMETABLE, timetable), Page("Notice of street works", NOTICE, notice)]
    write_pdf(folder / "line-4.pdf", pages)


@dataclass(frozen=True, slots=True)
class Example:
    """Something to try, and what must come of it.

    task: "search" finds `file`; "ask" answers from `file`; "look" is a question about that one picture.
    answer: one of the world's ANSWERS, or for a paper the words that the quoted passage must contain.
    claim: what the words say is in the picture; it holds in `file` and in no other picture of the corpus.
    """

    task: Literal["search", "ask", "look"]
    text: str
    file: str
    answer: str = ""
    claim: Claim | None = None


def examples() -> tuple[Example, ...]:
    """The searches and questions of the demo."""
    return (*_searches(), *_questions(), *_looks())


def _searches() -> tuple[Example, ...]:
    return (
        Example("search", "a car parked next to a fire hydrant", _photo(1), claim=_next("car", "hydrant")),
        Example("search", "a purple dog beside an orange tree", _photo(14), claim=_next("purple dog", "orange tree")),
        Example("search", "a person in black next to a blue bus", _photo(20), claim=_next("black person", "blue bus")),
        Example(
            "search",
            "a small blue tree to the left of a black sign",
            "videos/line-four.mp4",
            claim=Claim(_thing("blue tree"), "left of", _thing("black sign")),
        ),
        Example("search", "the driver rings the bell", "videos/line-four.mp4"),
        Example("search", "summer street fair", "papers/fair.png"),
        Example("search", "how much is a day ticket", "papers/line-4.pdf"),
        Example("search", "the bakery and its caraway rolls", "papers/chronicle.txt"),
    )


def _questions() -> tuple[Example, ...]:
    return (
        Example(
            "ask", "What colour is the car parked next to the fire hydrant?", _photo(1), "blue", _next("car", "hydrant")
        ),
        Example(
            "ask", "What color is the bus next to the white sign?", _photo(11), "orange", _next("bus", "white sign")
        ),
        Example(
            "ask", "What colour is the dog beside the person in green?", _photo(13), "red", _next("dog", "green person")
        ),
        Example("ask", "What is next to the purple dog?", _photo(14), "tree", Claim(_thing("purple dog"))),
        Example(
            "ask",
            "Is the white tree to the left or to the right of the yellow tree?",
            _photo(23),
            "left",
            Claim(_thing("white tree"), None, _thing("yellow tree")),
        ),
        Example("ask", "Who built the clock tower?", "papers/chronicle.txt", "Anton Ferrier"),
        Example("ask", "How many books does the library hold?", "papers/chronicle.txt", "27,000 books"),
        Example("ask", "When is the Old Mill Bridge closed?", "papers/line-4.pdf", "3 to 9 September 2029"),
    )


def _looks() -> tuple[Example, ...]:
    return (
        Example("look", "How many dogs are in the picture?", _photo(13), "3"),
        Example("look", "How many people can you see?", _photo(15), "4"),
        Example("look", "Is there a red car?", _photo(3), "no"),
        Example("look", "Is there a house next to a bicycle?", _photo(12), "yes"),
        Example("look", "Is the bus to the left or to the right of the red car?", _photo(24), "right"),
    )


def _photo(number: int) -> str:
    return f"photos/street-{number:02}.jpg"


def _thing(words: str) -> tuple[str, str | None]:
    *color, name = words.split()
    return name, color[0] if color else None


def _next(subject: str, other: str) -> Claim:
    return Claim(_thing(subject), "next to", _thing(other))
