"""Long shots of the drawn street in which something does one thing after the other, and what it does when."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from PIL import Image

from recipes.florence_tiny.synthetic.canvas import WIDTH
from recipes.florence_tiny.synthetic.drawing import OUTLINE_WIDTH, SCALES, MovingObject, draw_frames
from recipes.florence_tiny.synthetic.scene import COMBINATIONS, SEEN, Scene
from recipes.florence_tiny.synthetic.shapes import SHAPES

Action = Literal[
    "drives to the left",
    "drives to the right",
    "appears from the left",
    "appears from the right",
    "leaves to the left",
    "leaves to the right",
    "stops",
    "starts",
    "turns around",
    "crosses the road",
    "nothing moves",
]
Side = Literal["left", "right"]

ACTIONS: tuple[Action, ...] = Action.__args__  # type: ignore[attr-defined]
IDLE: Action = "nothing moves"
MIRRORED: dict[Action, Action] = {
    action: other
    for action in ACTIONS
    for other in ACTIONS
    if action.replace("left", "*").replace("right", "left").replace("*", "right") == other
}
"""What is seen of an action in a mirror."""
MOVERS = ("car", "bus", "bicycle", "person", "dog")

_DIRECTED: dict[Side, tuple[Action, Action, Action]] = {
    "left": ("drives to the left", "appears from the right", "leaves to the left"),
    "right": ("drives to the right", "appears from the left", "leaves to the right"),
}
_OTHER: dict[Side, Side] = {"left": "right", "right": "left"}
_LEAST_WAY = 0.2  # of the picture's width: what moves less could as well stand


@dataclass(frozen=True, slots=True)
class Waypoint:
    """Where a passer is at a share of a leg, 0 to 1, and where it looks until then."""

    when: float
    x: float
    heading: Side
    across: float = 0.0


@dataclass(frozen=True, slots=True)
class ActionSegment:
    """One action. mover: what acts, (colour, object), or None; path: where it is, going evenly from place to place."""

    action: Action
    seconds: float
    mover: tuple[str, str] | None = None
    path: tuple[Waypoint, ...] = ()

    def at(self, progress: float) -> MovingObject | None:
        """Where the mover is at 0 (start of the leg) to 1 (end)."""
        if self.mover is None:
            return None
        color, name = self.mover
        after = min(bisect_right([waypoint.when for waypoint in self.path], progress), len(self.path) - 1)
        one, two = self.path[after - 1], self.path[after]
        share = (progress - one.when) / (two.when - one.when)
        x, across = one.x + share * (two.x - one.x), one.across + share * (two.across - one.across)
        return MovingObject(name, color, two.heading, x, across)


@dataclass(frozen=True, slots=True)
class VideoScene:
    """One scene seen by a camera at rest, and what happens there."""

    scene: Scene
    segments: tuple[ActionSegment, ...]

    @property
    def seconds(self) -> float:
        return sum(segment.seconds for segment in self.segments)

    def spans(self) -> list[tuple[float, float]]:
        """Start and end of every leg in seconds."""
        ends = [sum(segment.seconds for segment in self.segments[: i + 1]) for i in range(len(self.segments))]
        return list(pairwise([0.0, *ends]))

    def at(self, time_s: float) -> MovingObject | None:
        """What is on the road; before and after the take, what is there at its ends."""
        spans = self.spans()
        index = min(bisect_right([start for start, _ in spans], max(time_s, 0.0)), len(spans)) - 1
        start, end = spans[index]
        return self.segments[index].at(min(max((time_s - start) / (end - start), 0.0), 1.0))

    def draw(self, times_s: Sequence[float], size: tuple[int, int]) -> Iterator[Image.Image]:
        """The pictures at these times."""
        return draw_frames(self.scene, size, map(self.at, times_s))


def sample_video_scene(
    rng: random.Random, segments: int, *, scene: Scene, combinations: Sequence[tuple[str, str]] = SEEN
) -> VideoScene:
    """A random take; combinations: (colour, object) that may act, of which only MOVERS do."""
    director = _SegmentSampler(rng, [pair for pair in combinations if pair[1] in MOVERS])
    for _ in range(rng.randrange(12)):  # it need not begin with an empty street
        director.next()
    return VideoScene(scene, tuple(director.next() for _ in range(segments)))


@dataclass
class _SegmentSampler:
    """Makes legs, each of which begins as the one before ended.

    moving: whether the mover is under way; without a mover, whether one is about to come.
    """

    rng: random.Random
    combinations: Sequence[tuple[str, str]]
    mover: tuple[str, str] | None = None
    x: float = 0.0
    across: float = 0.0
    heading: Side = "right"
    moving: bool = False
    last: Action | None = None

    def next(self) -> ActionSegment:
        """Any action that is possible now; none twice in a row."""
        segment = self.rng.choice(self._possible())()
        self.last = segment.action
        return segment

    def _possible(self) -> list[Callable[[], ActionSegment]]:
        if self.mover is None:
            return [self._appear if self.moving else self._rest]
        has_room = self._room() >= _LEAST_WAY
        across = [self._cross] if self.last != "crosses the road" else []
        if not self.moving:
            return [*across, *[self._rest] * (self.last != IDLE or not across), *[self._start] * 2 * has_room]
        ahead = {_DIRECTED[self.heading][0]: self._drive, "stops": self._stop, "turns around": self._turn}
        return [
            *(segment for action, segment in ahead.items() if has_room and action != self.last),
            self._leave,
            *across,
        ]

    @property
    def _sign(self) -> int:
        return 1 if self.heading == "right" else -1

    @property
    def _margin(self) -> float:
        """From the middle of the mover to its end, as a share of the picture's width."""
        assert self.mover is not None
        return (SHAPES[self.mover[1]].width / 2 * SCALES["large"] + OUTLINE_WIDTH) / WIDTH

    def _room(self) -> float:
        """How far it can go before a part of it is out of the picture."""
        return (1 - self.x if self.heading == "right" else self.x) - self._margin

    def _leg(self, action: Action, *places: Waypoint, seconds: tuple[float, float] = (1.6, 2.6)) -> ActionSegment:
        """Ends where its last place is. Times are whole twelfths, as the frames of a film are."""
        segment = ActionSegment(action, round(self.rng.uniform(*seconds) * 12) / 12, self.mover, places)
        if places:
            self.x, self.heading, self.across = places[-1].x, places[-1].heading, places[-1].across
        return segment

    def _place(self, when: float, way: float = 0.0) -> Waypoint:
        """So far ahead of here."""
        return Waypoint(when, self.x + self._sign * way, self.heading, self.across)

    def _way(self, least: float = _LEAST_WAY) -> float:
        return self.rng.uniform(least, max(least, min(self._room(), 0.5)))

    def _rest(self) -> ActionSegment:
        self.moving = self.mover is None or self.moving
        return self._leg(IDLE, *([self._place(0), self._place(1)] if self.mover else []), seconds=(1.6, 3.0))

    def _appear(self) -> ActionSegment:
        self.mover = self.rng.choice(list(self.combinations))
        self.heading = self.rng.choice(("left", "right"))
        self.across = self.rng.choice((0.0, 0.0, 1.0))
        self.x = -self._margin if self.heading == "right" else 1 + self._margin
        way = self.rng.uniform(2 * self._margin + 0.1, 0.65)
        return self._leg(_DIRECTED[self.heading][1], self._place(0), self._place(1, way), seconds=(1.6, 2.2))

    def _leave(self) -> ActionSegment:
        way = self._room() + 2 * self._margin
        segment = self._leg(_DIRECTED[self.heading][2], self._place(0), self._place(1, way), seconds=(1.6, 2.2))
        self.mover, self.moving = None, False
        return segment

    def _drive(self) -> ActionSegment:
        return self._leg(_DIRECTED[self.heading][0], self._place(0), self._place(1, self._way()))

    def _stop(self) -> ActionSegment:
        self.moving, way, when = False, self._way(0.15), self.rng.uniform(0.35, 0.6)
        return self._leg("stops", self._place(0), self._place(when, way), self._place(1, way))

    def _start(self) -> ActionSegment:
        self.moving, when = True, self.rng.uniform(0.4, 0.65)
        return self._leg("starts", self._place(0), self._place(when), self._place(1, self._way(0.15)))

    def _turn(self) -> ActionSegment:
        there, when = self._place(self.rng.uniform(0.4, 0.6), self._way(0.12)), self._place(0)
        self.x, self.heading = there.x, _OTHER[self.heading]
        return self._leg("turns around", when, there, self._place(1, self._way(0.12)))

    def _cross(self) -> ActionSegment:
        self.moving = self.rng.random() < 0.5
        start, way = self._place(0), min(max(self._room(), 0.0), self.rng.uniform(0.0, 0.06))
        self.across = 1.0 - self.across
        return self._leg("crosses the road", start, self._place(1, way))


def sample_action_segment(
    rng: random.Random, action: Action, *, scene: Scene, held_out: bool = False
) -> tuple[VideoScene, int]:
    """A take of five legs, and the index of one in its middle that shows the action."""
    while True:
        video_scene = sample_video_scene(rng, 5, scene=scene, combinations=COMBINATIONS if held_out else SEEN)
        found = [index for index in (1, 2, 3) if video_scene.segments[index].action == action]
        if found:
            return video_scene, rng.choice(found)
