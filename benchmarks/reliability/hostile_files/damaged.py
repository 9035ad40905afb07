"""Damages good files at random: truncated, with flipped bits, and with the suffix of another format."""

from collections.abc import Iterator
from random import Random

_LENGTHS = (0, 3, 12, 40)


def damaged(good: dict[str, bytes], random: Random) -> Iterator[tuple[str, bytes]]:
    """Yield the names and bytes of 17 damaged files of each format."""
    for suffix, data in good.items():
        for number in range(7):
            length = _LENGTHS[number] if number < len(_LENGTHS) else random.randrange(len(data))
            yield f"cut{number}{suffix}", data[:length]
        for number in range(6):
            flipped = bytearray(data)
            reach = len(data) if number % 2 else min(len(data), 200)
            for _ in range(random.choice((1, 3, 20))):
                flipped[random.randrange(reach)] ^= 1 << random.randrange(8)
            yield f"flip{number}{suffix}", bytes(flipped)
        for number, other in enumerate(random.sample(sorted(good.keys() - {suffix}), 4)):
            yield f"suffix{number}{other[1:]}{suffix}", data
