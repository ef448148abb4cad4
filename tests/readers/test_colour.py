"""Colour maps undone, other colours by luma, noise of JPEG without a word."""

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw

from btjax.readers import colour
from btjax.readers.images import read_image

grey_images = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))

COMMON = ("viridis", "jet", "hot", "bone", "inferno", "plasma", "magma", "cividis", "turbo")


def head(side=96):
    """Uint8 [side, side]: a black background and a smooth head of all levels, brighter inside."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    radius = np.sqrt(1.3 * y**2 + 1.7 * x**2)
    waves = 0.15 * np.sin(19 * x + 3) * np.cos(23 * y)
    return np.rint(255 * np.clip(1.05 - 1.6 * radius + waves, 0, 1) * (radius < 0.5)).astype(np.uint8)


def coloured(grey, name):
    """Uint8 [H, W] -> uint8 [H, W, 3], as matplotlib's imsave has it."""
    return np.ascontiguousarray(matplotlib.colormaps[name](grey / 255, bytes=True)[..., :3])


def viridis(grey):
    return matplotlib.colormaps["viridis"](grey, bytes=True)[..., :3]


@settings(deadline=None)
@given(grey_images)
def test_viridis_is_undone_to_the_same_colours(grey):
    found = colour.undo_map(viridis(grey), "viridis")
    assert found is not None
    np.testing.assert_array_equal(viridis(found), viridis(grey))
    assert np.abs(found.astype(int) - grey).max() <= 1


def test_every_single_colour_of_viridis_is_told_from_grey():
    """One of them has as much red as green."""
    for grey in range(256):
        assert colour.undo_map(viridis(np.full((2, 2), grey, np.uint8)), "viridis") is not None, grey


def test_viridis_is_undone_exactly_but_for_the_two_shared_colours():
    ramp = np.arange(256, dtype=np.uint8)[None]
    wrong = np.nonzero(colour.undo_map(viridis(ramp), "viridis") != ramp)[1]
    assert wrong.tolist() == [105, 138]


@settings(deadline=None)
@given(grey_images)
def test_grey_pixels_kept_as_colour_are_never_taken_for_viridis(grey):
    assert colour.undo_map(np.stack([grey] * 3, axis=-1), "viridis") is None


def test_every_map_of_matplotlib_is_undone():
    """Levels that share a colour differ by a few at most."""
    grey = head()
    for name in colour.colour_maps():
        if name in matplotlib.colormaps:
            found, remarks = colour.to_grey(coloured(grey, name))
            table = coloured(np.arange(256), name)
            if name in ("flag", "prism", "twilight", "twilight_shifted"):
                # They repeat themselves, or have all colours in common.
                assert remarks == (colour.LUMA,) or np.array_equal(table[found], table[grey])
                continue
            assert np.abs(found.astype(int) - grey).max() <= 4, name
            assert remarks == (f"colour map {name} undone",), name


def test_jet_of_matlab_is_undone():
    """The corners of its trapezia, from MATLAB's documentation: dark blue, blue, cyan, yellow, red, dark red."""
    table = colour.colour_maps()["MATLAB's jet"].table
    levels = [0, 31, 95, 159, 223, 255]
    expected = [(0, 0, 131), (0, 0, 255), (0, 255, 255), (255, 255, 0), (255, 0, 0), (128, 0, 0)]
    assert [tuple(table[level].tolist()) for level in levels] == expected
    found, remarks = colour.to_grey(table[head()])
    np.testing.assert_array_equal(found, head())
    assert remarks == ("colour map MATLAB's jet undone",)


@pytest.mark.parametrize("name", ["viridis", "jet", "plasma", "turbo", "inferno", "Blues"])
def test_a_reversed_map_is_told_by_its_bright_border(name):
    found, remarks = colour.to_grey(coloured(head(), f"{name}_r"))
    assert np.abs(found.astype(int) - head()).max() <= 4
    assert remarks == (f"colour map {name}_r undone",)


@pytest.mark.parametrize("quality", [40, 75, 95])
@pytest.mark.parametrize("name", COMMON)
def test_lossy_pictures_on_a_map_are_undone_to_the_nearest_grey(tmp_path, name, quality):
    Image.fromarray(coloured(head(), name)).save(tmp_path / "x.jpg", quality=quality)
    found = read_image(tmp_path / "x.jpg")
    assert found.remarks == (f"colour map {name} undone",)
    difference = np.abs(found.pixels.astype(int) - head())
    assert np.median(difference) <= 3 and np.mean(difference) < 10


def test_a_lossy_picture_on_a_map_whose_ends_meet_is_taken_as_luma_with_a_remark(tmp_path):
    Image.fromarray(coloured(head(), "hsv")).save(tmp_path / "x.jpg")
    assert colour.LUMA in read_image(tmp_path / "x.jpg").remarks


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("name", ["hsv", "gist_rainbow", "autumn", "bwr", "Reds", "twilight_shifted", "gist_heat"])
def test_a_map_with_rivals_is_undone_right_or_taken_as_luma(tmp_path, name, quality):
    Image.fromarray(coloured(head(), name)).save(tmp_path / "x.jpg", quality=quality)
    found = read_image(tmp_path / "x.jpg")
    if not set(found.remarks) & {colour.LUMA, colour.MARKS}:
        assert np.mean(np.abs(found.pixels.astype(int) - head())) < 10, found.remarks


def luma(colours):
    return np.asarray(Image.fromarray(colours).convert("L"))


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("noise", [0, 2, 5])
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_chroma_noise_of_a_grey_picture_is_luma_without_a_remark(tmp_path, quality, noise, subsampling):
    grain = np.random.default_rng(0).normal(0, noise, (96, 96, 3))
    stored = np.rint(np.clip(head()[..., None] + grain, 0, 255)).astype(np.uint8)
    Image.fromarray(stored).save(tmp_path / "x.jpg", quality=quality, subsampling=subsampling)
    found = read_image(tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as image:
        np.testing.assert_array_equal(found.pixels, np.asarray(image.convert("RGB").convert("L")))
    assert found.remarks == ()


def test_a_small_arrow_in_colour_gets_a_remark():
    image = Image.fromarray(np.stack([head(256)] * 3, axis=-1))
    ImageDraw.Draw(image).line((30, 40, 60, 50), fill=(255, 0, 0), width=2)
    colours = np.asarray(image)
    found, remarks = colour.to_grey(colours)
    np.testing.assert_array_equal(found, luma(colours))
    assert remarks == (colour.MARKS,)


def test_other_colours_become_luma_with_a_remark():
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[..., 0], colours[::2, :, 1], colours[1, :, 2] = 255, 90, 200
    found, remarks = colour.to_grey(colours)
    np.testing.assert_array_equal(found, luma(colours))
    assert remarks == (colour.LUMA,)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert colour.to_grey(noise)[1] == (colour.LUMA,)


def test_a_tinted_picture_becomes_luma_with_a_remark():
    sepia = np.rint(head()[..., None] * np.array([1.0, 0.82, 0.6])).astype(np.uint8)
    found, remarks = colour.to_grey(sepia)
    assert remarks == (colour.LUMA,)
    order = np.argsort(head(), axis=None, kind="stable")
    assert (np.diff(found.ravel()[order].astype(int)) >= -1).all()


def test_two_thirds_of_a_map_are_no_map():
    colours = coloured(head(), "jet")
    colours[:48] = np.stack([head()] * 3, axis=-1)[:48]
    assert colour.to_grey(colours)[1] == (colour.LUMA,)
