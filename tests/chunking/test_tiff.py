import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from florence_rag.chunking import ChunkingConfig, read_image
from florence_rag.chunking.image_files import chunk_source, read_frames
from florence_rag.chunking.tiff import page_indices
from florence_rag.errors import MediaError
from tests.chunking.samples import scene, source

RAMP = np.linspace(0, 1, 48)[None, :].repeat(40, 0)
BANDS = [RAMP, RAMP**2, RAMP[:, ::-1], *[RAMP * 0.3] * 5]
FULL = {"u1": 255, "u2": 65535, "u4": 2**32 - 1, "f4": 1, "f8": 1}


def tiff(*pages: np.ndarray | tuple[np.ndarray, dict], **options) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=options.pop("byteorder", "<")) as writer:
        for page in pages:
            values, extra = page if isinstance(page, tuple) else (page, {})
            writer.write(values, metadata=None, **{**options, **extra})
    return file.getvalue()


def flat(*values: float, dtype: str) -> np.ndarray:
    return np.full((20, 20, len(values)), values, dtype)


@pytest.mark.parametrize("dtype", FULL)
@pytest.mark.parametrize("bands", [1, 3, 5, 8])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd"])
@pytest.mark.parametrize("layout", [{}, {"tile": (32, 32)}, {"byteorder": ">"}, {"planarconfig": "separate"}])
def test_every_type_number_of_bands_and_layout_gives_the_same_image(dtype, bands, compression, layout):
    values = (np.dstack(BANDS[:bands]) * FULL[dtype]).astype(dtype)
    if bands == 1:
        values, layout = values[..., 0], {key: value for key, value in layout.items() if key != "planarconfig"}
    if layout.get("planarconfig"):
        values = np.ascontiguousarray(np.moveaxis(values, -1, 0))
    extra = {"extrasamples": [0] * (bands - 3)} if bands > 3 else {}
    photometric = "rgb" if bands >= 3 else "minisblack"
    frame = read_image(tiff(values, compression=compression, photometric=photometric, **extra, **layout))
    wanted = np.dstack(BANDS[:3] if bands >= 3 else [RAMP] * 3) * 255
    assert np.abs(frame - wanted).max() <= 2


def test_a_compression_that_pillow_lacks_is_read_without_noise(capfd):
    frame = read_image(tiff(scene(1), compression="webp", photometric="rgb"))
    assert np.abs(frame - scene(1).astype(int)).mean() < 8
    assert capfd.readouterr() == ("", "")


RGB, GRAY, INVERTED = {"photometric": "rgb"}, {"photometric": "minisblack"}, {"photometric": "miniswhite"}


@pytest.mark.parametrize(
    ("values", "options", "color"),
    [
        (flat(64250, dtype="u2"), INVERTED, (5, 5, 5)),
        (flat(0, dtype="u2"), INVERTED, (255, 255, 255)),
        (flat(3000, dtype="u2"), INVERTED, (243, 243, 243)),
        (flat(3000, 1500, 1500, dtype="u2"), RGB, (187, 93, 93)),
        (flat(65535, 0, 0, 25000, dtype="u2"), {**RGB, "extrasamples": [0]}, (255, 0, 0)),
        (flat(65535, 0, 0, 0, dtype="u2"), {**RGB, "extrasamples": [2]}, (255, 255, 255)),
        (flat(4095, 0, 0, 65535, dtype="u2"), {**RGB, "extrasamples": [2]}, (255, 0, 0)),
        (flat(4095, 0, 0, 4095, dtype="u2"), {**RGB, "extrasamples": [2]}, (255, 0, 0)),
        (flat(32767, 0, 0, 32767, dtype="u2"), {**RGB, "extrasamples": [1]}, (255, 128, 128)),
        (flat(0, 65535, dtype="u2"), {**GRAY, "extrasamples": [2]}, (0, 0, 0)),
        (flat(0, 0, dtype="u2"), {**GRAY, "extrasamples": [2]}, (255, 255, 255)),
        (flat(255, 0, 0, 100, dtype="u1"), {**RGB, "extrasamples": [0]}, (255, 0, 0)),
        (flat(200, 9, dtype="u1"), {**GRAY, "extrasamples": [0]}, (200, 200, 200)),
        (flat(0.5, 0, 1, dtype="f4"), RGB, (128, 0, 255)),
        (flat(0, 65535, 65535, 0, dtype="u2"), {"photometric": "separated"}, (255, 0, 0)),
        (flat(100, dtype="u2"), {**GRAY, "extratags": [(281, "H", 1, 200, True)]}, (128, 128, 128)),
    ],
)
def test_what_the_tags_say_of_the_channels_counts(values, options, color):
    values = values[..., 0] if values.shape[2] == 1 else values
    frame = read_image(tiff(values, **options))
    assert np.abs(frame.astype(int) - color).max() <= 1


def test_missing_values_do_not_darken_the_others():
    heights = (RAMP * 1500 + 500).astype("f4")
    heights[:10] = -9999
    frame = read_image(tiff(heights, photometric="minisblack", extratags=[(42113, "s", 0, "-9999", True)]))
    assert frame[:10].max() == 0 and frame[10:].max() > 120


def test_a_palette_of_16_bits():
    colors = np.zeros((3, 256), "u2")
    colors[:, 7] = (65535, 32768, 0)
    frame = read_image(tiff(np.full((20, 20), 7, "u1"), photometric="palette", colormap=colors))
    assert np.abs(frame.astype(int) - (255, 128, 0)).max() <= 1


def test_colors_that_are_not_read_are_named():
    with pytest.raises(MediaError, match="has CIELAB colors of 16 bits; convert it to RGB"):
        read_image(tiff(flat(1, 2, 3, dtype="u2"), photometric="cielab"))


def test_deep_images_keep_orientation_time_and_camera(tmp_path):
    tags = [(271, "s", 0, "Acme", True), (272, "s", 0, "X1", True), (306, "s", 0, "2024:05:06 07:08:09", True)]
    path = tmp_path / "a.tif"
    path.write_bytes(
        tiff(np.zeros((30, 60), "u2"), photometric="minisblack", extratags=[*tags, (274, "H", 1, 6, True)])
    )
    (chunk,) = chunk_source(source(path, "image"), ChunkingConfig())
    assert chunk.frames[0].shape == (60, 30, 3)
    assert chunk.metadata == {"width": 30, "height": 60, "taken_at": "2024-05-06T07:08:09", "camera": "Acme X1"}


WHOLE = scene(0, 512, 384)
COPY = ({"subfiletype": 1}, {"tile": (64, 64)})
MASK = (np.ones((384, 512), bool), {"subfiletype": 4, "photometric": "mask"})


@pytest.mark.parametrize(
    ("pages", "indices"),
    [
        ([WHOLE], [0]),
        ([WHOLE, scene(1, 512, 384), scene(2, 512, 384)], [0, 1, 2]),
        ([WHOLE, (WHOLE[::2, ::2], {"subfiletype": 1}), MASK], [0]),  # an overview and a mask, as in a GeoTIFF
        ([(WHOLE[::4, ::4], {"subfiletype": 1}), WHOLE], [1]),  # a thumbnail first
        ([(WHOLE, {"tile": (64, 64)}), *((WHOLE[::n, ::n], {"tile": (64, 64)}) for n in (2, 4))], [0]),  # a slide
        ([WHOLE, scene(1, 256, 192)], [0, 1]),  # a smaller page
        ([(WHOLE[::2, ::2], {"subfiletype": 1})], [0]),
        ([(WHOLE, {"subifds": 1}), WHOLE[::2, ::2]], [0]),
    ],
)
def test_thumbnails_masks_and_copies_are_no_pages(pages, indices):
    assert page_indices(io.BytesIO(tiff(*pages, photometric="rgb")), 10**6) == indices


def test_of_an_image_that_is_too_large_its_largest_copy_is_read():
    pages = [WHOLE, *((WHOLE[::n, ::n], {"subfiletype": 1}) for n in (4, 2, 8))]
    assert page_indices(io.BytesIO(tiff(*pages, photometric="rgb")), WHOLE.shape[0] * WHOLE.shape[1] - 1) == [2]


@pytest.mark.parametrize("compression", [None, "group4"])
def test_pages_of_black_and_white(tmp_path, compression):
    pages = [Image.fromarray(scene(seed)).convert("1") for seed in range(3)]
    options = {"compression": compression} if compression else {}
    pages[0].save(tmp_path / "fax.tif", save_all=True, append_images=pages[1:], **options)
    chunks = list(chunk_source(source(tmp_path / "fax.tif", "image"), ChunkingConfig()))
    assert [chunk.locator.page for chunk in chunks] == [1, 2, 3]
    for chunk, page in zip(chunks, pages, strict=True):
        assert np.array_equal(chunk.frames[0], np.asarray(page.convert("RGB")))
        again = read_frames(chunk.source.uri, chunk.locator, chunk.metadata, ChunkingConfig())
        assert np.array_equal(again[0], chunk.frames[0])


def test_a_chain_of_pages_that_is_a_loop_ends():
    data = bytearray(tiff(*(scene(seed) for seed in range(3)), photometric="rgb"))
    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        first, last = opened.pages[0], opened.pages[2]
        end = last.offset + 2 + 12 * len(last.tags)
    data[end : end + 4] = first.offset.to_bytes(4, "little")
    assert page_indices(io.BytesIO(data), 10**6) == [0, 1, 2]
