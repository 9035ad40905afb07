import io
import struct
import warnings
import zlib
from contextlib import suppress

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.image_files import chunk_source
from florence_rag.chunking.images import read_image
from florence_rag.errors import InputError, MediaError
from tests.chunking.samples import BLUE, RED, SHARED, encode, scene, source

FORMS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
SCENE = scene(1)


def halves(width: int = 160, height: int = 120) -> np.ndarray:
    """Red above blue."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2], pixels[height // 2 :] = RED, BLUE
    return pixels


def is_red(pixel) -> bool:
    return pixel[0] > 180 and pixel[2] < 80


@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_the_same_image(form):
    frame = read_image(encode(halves(), form))
    assert frame.shape == (120, 160, 3) and frame.dtype == np.uint8
    assert frame.flags.c_contiguous and frame.flags.writeable  # torch warns of arrays that are not
    assert np.abs(frame[10, 80].astype(int) - RED).max() < 12
    assert np.abs(frame[110, 80].astype(int) - BLUE).max() < 12


def test_every_kind_of_argument_gives_the_same_image(tmp_path):
    data = encode(SCENE, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with path.open("rb") as file, Image.open(io.BytesIO(data)) as image:
        for argument in (path, str(path), data, io.BytesIO(data), file, image, SCENE):
            assert np.array_equal(read_image(argument), SCENE)


def test_the_arguments_are_not_changed():
    image, array = Image.fromarray(scene(1, 400, 300)), scene(2)
    before = array.copy()
    assert read_image(image, 100).shape == (75, 100, 3)
    read_image(array)[:] = 0
    assert image.size == (400, 300) and np.array_equal(array, before)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(
    ("orientation", "shape", "red_at"),
    [
        (1, (120, 160), (5, 80)),
        (2, (120, 160), (5, 80)),
        (3, (120, 160), (-5, 80)),
        (4, (120, 160), (-5, 80)),
        (5, (160, 120), (80, 5)),
        (6, (160, 120), (80, -5)),
        (7, (160, 120), (80, -5)),
        (8, (160, 120), (80, 5)),
        (99, (120, 160), (5, 80)),
    ],
)
def test_images_are_upright(form, orientation, shape, red_at):
    exif = Image.Exif()
    exif[0x112] = orientation
    frame = read_image(encode(halves(), form, exif=exif))
    assert frame.shape[:2] == shape
    assert is_red(frame[red_at]) and not is_red(frame[-red_at[0], -red_at[1]])


def test_larger_images_are_scaled_down_and_smaller_ones_keep_their_size():
    data = encode(scene(1, 400, 200), "PNG")
    assert read_image(data, 100).shape == (50, 100, 3)
    assert read_image(data, 1000).shape == (200, 400, 3)


def test_palettes_are_not_scaled_pixel_by_pixel():
    stripes = np.zeros((64, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    frame = read_image(encode(Image.fromarray(stripes).quantize(2), "PNG"), 64)
    assert 110 < frame.mean() < 145 and frame.std() < 20


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_pixels_become_white(mode):
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (10, 0, 20, 20))
    frame = read_image(
        encode(image.quantize() if mode == "P" else image.convert(mode), "TIFF" if mode == "PA" else "PNG")
    )
    assert (frame[:, :10] == 255).all()
    assert frame[5, 15, 0] < 60


def test_cmyk_becomes_rgb():
    frame = read_image(encode(Image.fromarray(halves()).convert("CMYK"), "JPEG"))
    assert is_red(frame[10, 80])


def ramp(top: float, dtype: str) -> np.ndarray:
    return np.linspace(0, top, 64 * 48).reshape(48, 64).astype(dtype)


def big_endian_tiff(values: np.ndarray) -> bytes:
    height, width = values.shape
    data = values.astype(">u2").tobytes()
    short, long = 3, 4
    tags = [
        (256, short, width << 16),
        (257, short, height << 16),
        (258, short, 16 << 16),
        (259, short, 1 << 16),
        (262, short, 1 << 16),
        (273, long, 8 + 2 + 12 * 8 + 4),
        (278, short, height << 16),
        (279, long, len(data)),
    ]
    table = b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"MM\0*" + struct.pack(">IH", 8, len(tags)) + table + bytes(4) + data


@pytest.mark.parametrize(
    ("image", "darkest", "brightest"),
    [
        (encode(Image.fromarray(ramp(65535, "uint16")), "PNG"), 0, 255),
        (encode(Image.fromarray(ramp(4095, "uint16")), "PNG"), 0, 255),  # 12 bits, as of X-ray detectors
        (big_endian_tiff(ramp(65535, "uint16")), 0, 255),
        (encode(Image.fromarray(ramp(1, "float32")), "TIFF"), 0, 255),
        (encode(Image.fromarray(ramp(200, "float32")), "TIFF"), 0, 200),
        (ramp(1, "float64"), 0, 255),
        (ramp(1, "float16"), 0, 255),
        (ramp(1e9, "float32"), 0, 255),
        (ramp(70000, "int32"), 0, 255),
        (ramp(2, "float32") - 1, 0, 255),
        (np.full((20, 20), -7, "int16"), 0, 0),
        (ramp(1, "float32") > 0.5, 0, 255),
        (np.full((20, 20, 3), 40000, "uint16"), 156, 156),
        (np.full((20, 20), np.nan, "float32"), 0, 0),
    ],
)
def test_values_of_more_than_8_bits_are_rescaled_not_clipped(image, darkest, brightest):
    frame = read_image(image)
    assert (frame.min(), frame.max()) == (darkest, brightest)
    assert len(np.unique(frame)) == 1 or abs(float(frame.mean()) - (darkest + brightest) / 2) < 2


def deep_png(values: np.ndarray, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    data = imagecodecs.png_encode(values)
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    return data[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


@pytest.mark.parametrize("top", [65535, 4095, 1023])
@pytest.mark.parametrize("form", ["file", "array"])
def test_colors_of_more_than_8_bits_keep_their_brightness(top, form):
    gray = ramp(top, "uint16")
    colors = np.dstack([gray, gray[:, ::-1], np.zeros_like(gray)])
    opacity = np.full_like(gray, 65535)
    opacity[:24] = 0
    wanted = np.dstack([ramp(255, "float32"), ramp(255, "float32")[:, ::-1], np.zeros((48, 64))])
    for values in (colors, np.dstack([colors, opacity])):
        frame = read_image(deep_png(values) if form == "file" else values)
        assert np.abs(frame[24:] - wanted[24:]).max() <= 1
        assert (frame[:24] == 255).all() == (values.shape[2] == 4)


def test_gray_of_16_bits_with_opacity():
    frame = read_image(deep_png(np.dstack([ramp(4095, "uint16"), np.full((48, 64), 65535, "uint16")])))
    assert np.abs(frame[..., 0] - ramp(255, "float32")).max() <= 1


def test_deep_png_images_are_upright():
    values = np.zeros((48, 64, 3), np.uint16)
    values[:, :10, 0] = 65535
    frame = read_image(deep_png(values, orientation=6))
    assert frame.shape == (64, 48, 3) and is_red(frame[2, 20]) and not is_red(frame[-2, 20])


@pytest.mark.parametrize(
    ("values", "brightest"),
    [
        (ramp(8, "float32"), 255),  # light of high dynamic range
        (np.where(ramp(1, "float32") > 0.999, 500, ramp(0.9, "float32")), 255),  # with the sun in it
        (np.where(ramp(1, "float32") < 0.001, -3.4e38, ramp(200, "float32")), 199),  # a missing value
        (np.where(ramp(1, "float32") < 0.001, np.inf, ramp(1, "float32")), 255),
    ],
)
def test_outliers_of_floating_point_numbers_do_not_darken_the_others(values, brightest):
    frame = read_image(values.astype(np.float32))
    assert abs(int(frame.max()) - brightest) <= 1 and np.median(frame) > 95


@pytest.mark.parametrize("size", [(20_000, 30), (30, 20_000)])
def test_very_long_images_are_read(size):
    frame = read_image(encode(Image.new("RGB", size, "red"), "PNG"))
    assert sorted(frame.shape) == [3, 4, 1280] and is_red(frame[0, 0])


def test_images_of_more_than_8_bits_are_scaled_down_too():
    frame = read_image(big_endian_tiff(ramp(65535, "uint16")), 32)
    assert frame.shape == (24, 32, 3)
    assert (np.diff(frame[:, 0, 0].astype(int)) > 0).all()


def test_the_first_of_several_images_is_read():
    frames = [Image.fromarray(scene(seed)) for seed in range(3)]
    for form in ("GIF", "WEBP", "TIFF", "PNG", "MPO"):
        data = encode(frames[0], form, save_all=True, append_images=frames[1:])
        assert np.abs(read_image(data).astype(int) - scene(0)).mean() < 8, form


def test_heic_is_read_without_changing_pillow():
    read_image(encode(halves(), "HEIF"))
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(encode(halves(), "HEIF")))


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG of this size in black and white, of which the rest would be small."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = (struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in (header, data))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"Hello, this is a letter.", "is not an image: it starts like text"),
        (b"<!doctype html><p>404", "is not an image: it starts like an HTML page"),
        (b"<svg width='9'>", "is not an image: it starts like an SVG drawing"),
        (b"%PDF-1.7", "is not an image: it starts like a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "is not an image: it starts like a PostScript document"),
        (encode(SCENE, "JPEG")[:20], r"is truncated or damaged \(it starts like a JPEG image\)"),
        (encode(SCENE, "JPEG")[:2000], "is truncated or damaged"),
        (encode(SCENE, "PNG")[:500], "is truncated or damaged"),
        (encode(SCENE, "HEIF")[:500], "damaged"),
        (png_header(50_000, 50_000), "too many pixels; at most 50,000,000"),
        (png_header(13_000, 13_000), r"13,000 x 13,000 pixels; at most 50,000,000"),
        (png_header(9_000, 9_000), r"9,000 x 9,000 pixels"),
        (encode(Image.new("L", (8_000, 8_000)), "JPEG", progressive=True), r"8,000 x 8,000 pixels"),
        (encode(Image.new("RGB", (1, 1)), "PNG"), "too thin to show anything: 1 x 1"),
        (encode(Image.new("RGB", (4000, 3)), "PNG"), "too thin"),
    ],
)
def test_an_unreadable_image_is_named_with_the_reason(tmp_path, data, reason):
    path = tmp_path / "odd.jpg"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MediaError, match=rf"odd\.jpg' .*{reason}"):
            read_image(path)
        with pytest.raises(MediaError, match=rf"^the given image .*{reason}"):
            read_image(data)


def test_huge_jpegs_are_decoded_at_reduced_size():
    assert read_image(encode(Image.new("L", (12_000, 8_000), 128), "JPEG"), 600).shape == (400, 600, 3)


def test_errors_do_not_echo_the_decoder():
    with pytest.raises(MediaError) as caught:
        read_image(encode(SCENE, "PNG")[:500])
    assert "0x" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("https://example.org/a.jpg", "URLs are not fetched"),
        ("s3://bucket/a.jpg", "URLs are not fetched"),
        (5, "a int is not an image"),
        (None, "a NoneType is not an image"),
        (np.zeros((3, 4, 5, 3)), "is not an image"),
        (np.zeros((40, 40, 2)), "is not an image"),
        (np.zeros((0, 40, 3)), "is not an image"),
        (np.zeros((40, 40), complex), "is not an image"),
        (np.zeros((40, 40), object), "is not an image"),
    ],
)
def test_arguments_that_are_no_images_are_input_errors(wrong, reason):
    with pytest.raises(InputError, match=reason):
        read_image(wrong)


def test_folders_and_missing_files_are_media_errors(tmp_path):
    for path in (tmp_path, tmp_path / "gone.jpg"):
        with pytest.raises(MediaError, match="cannot be opened"):
            read_image(path)


def test_an_image_with_broken_exif_is_read():
    data = encode(SCENE, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
    assert read_image(data).shape == (120, 160, 3)


@pytest.mark.slow
@pytest.mark.parametrize("form", [*FORMS, "progressive", "palette"])
@given(cut=st.floats(0, 1), hole=st.tuples(st.floats(0, 1), st.binary(max_size=40)))
def test_damage_anywhere_gives_an_image_or_a_media_error(form, cut, hole):
    for data in damaged(DAMAGED[form], cut, hole):
        with suppress(MediaError):
            assert read_image(data).ndim == 3


DAMAGED = {form: encode(SCENE, form) for form in FORMS}
DAMAGED["progressive"] = encode(SCENE, "JPEG", progressive=True)
DAMAGED["palette"] = encode(Image.fromarray(SCENE).quantize(9), "PNG")


def damaged(data: bytes, cut: float, hole: tuple[float, bytes]) -> tuple[bytes, bytes]:
    at = int(hole[0] * len(data))
    return data[: int(cut * len(data))], data[:at] + hole[1] + data[at + len(hole[1]) :]


def test_a_chunk_has_the_metadata_of_the_camera(tmp_path):
    exif = Image.Exif()
    exif[0x10F], exif[0x110] = "NIKON CORPORATION\0", " NIKON  D2X "
    exif[0x112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2012:10:24 12:49:39"
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(scene(1, 400, 200), "JPEG", exif=exif))
    (chunk,) = chunk_source(source(path, "image"), ChunkingConfig(image_side_px=100))
    assert chunk.kind == "image" and chunk.locator.to_dict() == {} and chunk.text == ""
    assert [frame.shape for frame in chunk.frames] == [(100, 50, 3)]
    assert chunk.metadata == {
        "width": 200,
        "height": 400,
        "taken_at": "2012-10-24T12:49:39",
        "camera": "NIKON CORPORATION NIKON D2X",
    }


@pytest.mark.parametrize("taken_at", ["0000:00:00 00:00:00", "yesterday", "", "2012:13:24 12:49:39"])
def test_invalid_times_are_ignored(tmp_path, taken_at):
    exif = Image.Exif()
    exif[0x132] = taken_at
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(SCENE, "JPEG", exif=exif))
    (chunk,) = chunk_source(source(path, "image"), ChunkingConfig())
    assert chunk.metadata == {"width": 160, "height": 120}


@pytest.mark.skipif(not SHARED.exists(), reason="the shared photographs are missing; synthetic ones cover the same")
def test_the_shared_photographs_open():
    photos = sorted((SHARED / "photos").iterdir())
    chunks = {photo.name: next(chunk_source(source(photo, "image"), ChunkingConfig())) for photo in photos}
    assert len(chunks) == 33
    assert chunks["sewing-threads.heic"].metadata["camera"] == "samsung SM-A326B"
    assert chunks["solar-farm.jpg"].metadata["taken_at"] == "2012-10-24T12:49:39"
    assert all(max(chunk.frames[0].shape) <= 1280 for chunk in chunks.values())


def test_a_jpeg_is_decoded_at_reduced_size_if_less_detail_is_enough(tmp_path):
    path = tmp_path / "large.jpg"
    Image.fromarray(np.tile(np.arange(200, dtype=np.uint8)[:, None, None], (4, 1200, 3))).save(path)
    large = source(path, "image")
    sizes = {}
    for detail in (None, 400, 300, 100, 5000):
        (chunk,) = chunk_source(large, ChunkingConfig(image_detail_px=detail))
        sizes[detail] = chunk.frames[0].shape[:2]
        assert (chunk.metadata["width"], chunk.metadata["height"]) == (1200, 800)
    assert sizes == {None: (800, 1200), 400: (400, 600), 300: (400, 600), 100: (100, 150), 5000: (800, 1200)}


def test_a_jpeg_with_very_many_scans_is_refused_before_it_is_decoded():
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last, tail = data.rfind(b"\xff\xda"), b"\xff\xd9" + b"\xff\xda" * 500
    hidden = b"\xff\xfe\x00\x04\xff\xd9"  # a comment that looks like the end
    assert read_image(data + tail).shape == (48, 64, 3)  # another file behind the image, as in motion photos
    with pytest.raises(MediaError, match="has more than 64 scans"):
        read_image(data[:last] + hidden + data[last:-2] * 1000 + b"\xff\xd9")
