"""Scales images of more than 8 bits per channel, of integers or floating point numbers, to 8 bits."""

import numpy as np
from PIL import Image

_WHITE_LEVELS = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
_MAX_HDR = 32.0  # floating point numbers above 1 and up to this are light of high dynamic range, not 0 to 255
_MISSING = 1e30  # satellites and scanners mark missing values with the largest number
_SAMPLE = 1_000_000


def to_bytes(values: np.ndarray, white: float | None = None, missing: float | None = None) -> np.ndarray:
    """Scale numbers of any type to uint8, with 0 as black.

    Args:
        values: The numbers. With negative ones, the range from the minimum to the maximum becomes 0 to 255. Of floating
            point numbers above 1, the brightest 0.5 % become white, and the lowest 0.5 % of negative ones black.
        white: The number that is white. By default the smallest usual white level (1, 255, 1023, 4095, ...) that is not
            below the maximum.
        missing: The number that stands for a missing value, which becomes black.
    """
    if values.dtype == np.uint8:
        return values
    numbers = values.astype(np.float32)
    known = np.abs(numbers) < _MISSING
    if missing is not None:
        known &= values != missing
    low, top = _range(numbers, known, is_float=values.dtype.kind == "f")
    if low < 0:
        numbers -= low
        white = top - low or 1.0
    elif white is None or white < top:
        is_hdr = values.dtype.kind == "f" and 1 < top <= _MAX_HDR
        white = top if is_hdr else next((level for level in _WHITE_LEVELS if top <= level), top)
    numbers *= 255.0 / white
    numbers[~known] = 0.0
    return numbers.round(out=numbers).clip(0, 255, out=numbers).astype(np.uint8)


def _range(numbers: np.ndarray, known: np.ndarray, *, is_float: bool) -> tuple[float, float]:
    """Return the lowest number, at most 0, and the highest; of floating point numbers without outliers."""
    found = numbers[known]
    if not found.size:
        return 0.0, 0.0
    low, top = float(found.min()), float(found.max())
    if is_float and (low < 0 or top > 1):
        sample = found[:: max(1, found.size // _SAMPLE)]
        low, top = max(low, float(np.quantile(sample, 0.005))), max(1.0, float(np.quantile(sample, 0.995)))
    return min(0.0, low), top


def values_to_image(
    values: np.ndarray,
    *,
    alpha: bool,
    premultiplied: bool = False,
    white: float | None = None,
    missing: float | None = None,
) -> Image.Image:
    """Return an image of 8 bits.

    Args:
        values: (H, W, C) of any type: gray or RGB, with opacity or without.
        alpha: Whether the last channel is the opacity.
        premultiplied: Whether the colors are multiplied by the opacity.
        white: The number that is white, as in `to_bytes`.
        missing: The number of missing values, as in `to_bytes`.
    """
    colors, opacity = (values[..., :-1], values[..., -1:]) if alpha else (values, values[..., :0])
    pixels = to_bytes(colors, white, missing)
    if alpha:
        pixels = np.concatenate([pixels, to_bytes(opacity, _opaque(opacity, colors))], axis=-1)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if not premultiplied:
        return image
    return Image.frombuffer("RGBa", image.size, image.convert("RGBA").tobytes()).convert("RGBA")


def _opaque(opacity: np.ndarray, colors: np.ndarray) -> float | None:
    """Return the value of full opacity: the largest of the type, or of fewer bits the white level of the colors."""
    if opacity.dtype.kind not in "ui":
        return 1.0
    white = next((level for level in _WHITE_LEVELS if level >= colors.max(initial=0)), None)
    return white if white and opacity.max(initial=0) <= white else float(np.iinfo(opacity.dtype).max)
