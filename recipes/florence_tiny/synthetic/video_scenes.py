"""Long shots of a synthetic scene in which an object performs one action after another, with the time of each."""

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
"""The action that a mirrored video shows."""
MOVERS = ("car", "bus", "bicycle", "person", "dog")

_DIRECTED: dict[Side, tuple[Action, Action, Action]] = {
    "left": ("drives to the left", "appears from the right", "leaves to the left"),
    "right": ("drives to the right", "appears from the left", "leaves to the right"),
}
_OTHER: dict[Side, Side] = {"left": "right", "right": "left"}
_MIN_DISTANCE = 0.2  # share of the image width; a shorter motion cannot be distinguished from standing


@dataclass(frozen=True, slots=True)
class Waypoint:
    """The position of the actor at a progress `when` from 0 to 1, and its heading until then."""

    when: float
    x: float
    heading: Side
    lane: float = 0.0


@dataclass(frozen=True, slots=True)
class ActionSegment:
    """One action of an actor, (color, category) or None, which moves evenly from waypoint to waypoint of the path."""

    action: Action
    seconds: float
    actor: tuple[str, str] | None = None
    path: tuple[Waypoint, ...] = ()

    def at(self, progress: float) -> MovingObject | None:
        """Return the actor at a progress from 0 (start of the segment) to 1 (end)."""
        if self.actor is None:
            return None
        color, name = self.actor
        after = min(bisect_right([waypoint.when for waypoint in self.path], progress), len(self.path) - 1)
        one, two = self.path[after - 1], self.path[after]
        share = (progress - one.when) / (two.when - one.when)
        x, lane = one.x + share * (two.x - one.x), one.lane + share * (two.lane - one.lane)
        return MovingObject(name, color, two.heading, x, lane)


@dataclass(frozen=True, slots=True)
class VideoScene:
    """A scene that a camera at rest records, and the actions in it."""

    scene: Scene
    segments: tuple[ActionSegment, ...]

    @property
    def seconds(self) -> float:
        return sum(segment.seconds for segment in self.segments)

    def spans(self) -> list[tuple[float, float]]:
        """Return the start and end of every segment in seconds."""
        ends = [sum(segment.seconds for segment in self.segments[: i + 1]) for i in range(len(self.segments))]
        return list(pairwise([0.0, *ends]))

    def at(self, time_s: float) -> MovingObject | None:
        """Return the object on the road; times outside the video mean its start or end."""
        spans = self.spans()
        index = min(bisect_right([start for start, _ in spans], max(time_s, 0.0)), len(spans)) - 1
        start, end = spans[index]
        return self.segments[index].at(min(max((time_s - start) / (end - start), 0.0), 1.0))

    def draw(self, times_s: Sequence[float], size: tuple[int, int]) -> Iterator[Image.Image]:
        """Yield the images at these times."""
        return draw_frames(self.scene, size, map(self.at, times_s))


def sample_video_scene(
    rng: random.Random, segments: int, *, scene: Scene, combinations: Sequence[tuple[str, str]] = SEEN
) -> VideoScene:
    """Sample a video scene; combinations are the (color, category) of actors, and only MOVERS can act."""
    sampler = _SegmentSampler(rng, [pair for pair in combinations if pair[1] in MOVERS])
    for _ in range(rng.randrange(12)):  # The video need not begin with an empty street.
        sampler.next()
    return VideoScene(scene, tuple(sampler.next() for _ in range(segments)))


@dataclass
class _SegmentSampler:
    """Samples segments, each of which starts where the previous one ends.

    `moving` says whether the actor moves; without an actor, whether one appears next.
    """

    rng: random.Random
    combinations: Sequence[tuple[str, str]]
    actor: tuple[str, str] | None = None
    x: float = 0.0
    lane: float = 0.0
    heading: Side = "right"
    moving: bool = False
    last: Action | None = None

    def next(self) -> ActionSegment:
        """Sample an action that is possible now and is not the previous one."""
        segment = self.rng.choice(self._possible())()
        self.last = segment.action
        return segment

    def _possible(self) -> list[Callable[[], ActionSegment]]:
        if self.actor is None:
            return [self._appear if self.moving else self._rest]
        has_room = self._room() >= _MIN_DISTANCE
        cross = [self._cross] if self.last != "crosses the road" else []
        if not self.moving:
            return [*cross, *[self._rest] * (self.last != IDLE or not cross), *[self._start] * 2 * has_room]
        ahead = {_DIRECTED[self.heading][0]: self._drive, "stops": self._stop, "turns around": self._turn}
        return [
            *(segment for action, segment in ahead.items() if has_room and action != self.last),
            self._leave,
            *cross,
        ]

    @property
    def _sign(self) -> int:
        return 1 if self.heading == "right" else -1

    @property
    def _margin(self) -> float:
        """Half the length of the actor, as a share of the image width."""
        assert self.actor is not None
        return (SHAPES[self.actor[1]].width / 2 * SCALES["large"] + OUTLINE_WIDTH) / WIDTH

    def _room(self) -> float:
        """Return how far the actor can go before a part of it leaves the image."""
        return (1 - self.x if self.heading == "right" else self.x) - self._margin

    def _segment(self, action: Action, *path: Waypoint, seconds: tuple[float, float] = (1.6, 2.6)) -> ActionSegment:
        """Create a segment that ends at its last waypoint; its length is a multiple of 1/12 s, as frames are."""
        segment = ActionSegment(action, round(self.rng.uniform(*seconds) * 12) / 12, self.actor, path)
        if path:
            self.x, self.heading, self.lane = path[-1].x, path[-1].heading, path[-1].lane
        return segment

    def _waypoint(self, when: float, distance: float = 0.0) -> Waypoint:
        """Return a waypoint at a distance ahead of the current position."""
        return Waypoint(when, self.x + self._sign * distance, self.heading, self.lane)

    def _distance(self, minimum: float = _MIN_DISTANCE) -> float:
        return self.rng.uniform(minimum, max(minimum, min(self._room(), 0.5)))

    def _rest(self) -> ActionSegment:
        self.moving = self.actor is None or self.moving
        return self._segment(IDLE, *([self._waypoint(0), self._waypoint(1)] if self.actor else []), seconds=(1.6, 3.0))

    def _appear(self) -> ActionSegment:
        self.actor = self.rng.choice(list(self.combinations))
        self.heading = self.rng.choice(("left", "right"))
        self.lane = self.rng.choice((0.0, 0.0, 1.0))
        self.x = -self._margin if self.heading == "right" else 1 + self._margin
        distance = self.rng.uniform(2 * self._margin + 0.1, 0.65)
        return self._segment(
            _DIRECTED[self.heading][1], self._waypoint(0), self._waypoint(1, distance), seconds=(1.6, 2.2)
        )

    def _leave(self) -> ActionSegment:
        distance = self._room() + 2 * self._margin
        segment = self._segment(
            _DIRECTED[self.heading][2], self._waypoint(0), self._waypoint(1, distance), seconds=(1.6, 2.2)
        )
        self.actor, self.moving = None, False
        return segment

    def _drive(self) -> ActionSegment:
        return self._segment(_DIRECTED[self.heading][0], self._waypoint(0), self._waypoint(1, self._distance()))

    def _stop(self) -> ActionSegment:
        self.moving, distance, when = False, self._distance(0.15), self.rng.uniform(0.35, 0.6)
        return self._segment("stops", self._waypoint(0), self._waypoint(when, distance), self._waypoint(1, distance))

    def _start(self) -> ActionSegment:
        self.moving, when = True, self.rng.uniform(0.4, 0.65)
        return self._segment("starts", self._waypoint(0), self._waypoint(when), self._waypoint(1, self._distance(0.15)))

    def _turn(self) -> ActionSegment:
        there, when = self._waypoint(self.rng.uniform(0.4, 0.6), self._distance(0.12)), self._waypoint(0)
        self.x, self.heading = there.x, _OTHER[self.heading]
        return self._segment("turns around", when, there, self._waypoint(1, self._distance(0.12)))

    def _cross(self) -> ActionSegment:
        self.moving = self.rng.random() < 0.5
        start, distance = self._waypoint(0), min(max(self._room(), 0.0), self.rng.uniform(0.0, 0.06))
        self.lane = 1.0 - self.lane
        return self._segment("crosses the road", start, self._waypoint(1, distance))


def sample_action_segment(
    rng: random.Random, action: Action, *, scene: Scene, held_out: bool = False
) -> tuple[VideoScene, int]:
    """Sample a video scene of five segments, and the index of an inner one that shows the action."""
    while True:
        video_scene = sample_video_scene(rng, 5, scene=scene, combinations=COMBINATIONS if held_out else SEEN)
        found = [index for index in (1, 2, 3) if video_scene.segments[index].action == action]
        if found:
            return video_scene, rng.choice(found)
