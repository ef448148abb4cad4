"""Image files as grey slices and as masks; viridis undone."""

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from PIL import Image

from btjax.data import images
from tests.data import forms

grey_images = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def viridis(grey):
    """uint8 [H, W] -> uint8 [H, W, 3]."""
    return matplotlib.colormaps["viridis"](grey, bytes=True)[..., :3]


@settings(deadline=None)
@given(grey_images)
def test_viridis_is_undone_to_the_same_colours(grey):
    found = images.undo_viridis(viridis(grey))
    np.testing.assert_array_equal(viridis(found), viridis(grey))
    assert np.abs(found.astype(int) - grey).max() <= 1


def test_every_single_colour_of_viridis_is_told_from_grey():
    """One of them has as much red as green."""
    for grey in range(256):
        assert images.undo_viridis(viridis(np.full((2, 2), grey, np.uint8))) is not None, grey


def test_viridis_is_undone_exactly_but_for_the_two_shared_colours():
    ramp = np.arange(256, dtype=np.uint8)[None]
    wrong = np.nonzero(images.undo_viridis(viridis(ramp)) != ramp)[1]
    assert wrong.tolist() == [105, 138]


def test_a_lossy_viridis_image_is_undone_to_the_nearest_grey(tmp_path):
    ramp = np.add.outer(np.arange(64), 2 * np.arange(64)).astype(np.uint8) + np.uint8(30)
    Image.fromarray(viridis(ramp)).save(tmp_path / "x.jpg", quality=92)
    found = images.read_image(tmp_path / "x.jpg").pixels
    assert np.median(np.abs(found.astype(int) - ramp)) <= 3


@settings(deadline=None)
@given(grey_images)
def test_grey_pixels_kept_as_colour_are_never_taken_for_viridis(grey):
    assert images.undo_viridis(np.stack([grey] * 3, axis=-1)) is None


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_grey_files_of_every_mode_give_the_same_pixels(tmp_path, mode):
    grey = forms.make_slices(1)[0].image
    Image.fromarray(grey).convert(mode).save(tmp_path / "x.png")
    np.testing.assert_array_equal(images.read_image(tmp_path / "x.png").pixels, grey)


def test_viridis_with_transparency_is_undone(tmp_path):
    grey = np.array([[0, 200], [255, 30]], np.uint8)
    Image.fromarray(matplotlib.colormaps["viridis"](grey, bytes=True)).save(tmp_path / "x.png")
    np.testing.assert_array_equal(images.read_image(tmp_path / "x.png").pixels, grey)


def test_deep_images_keep_their_depth(tmp_path):
    deep = np.array([[0, 300], [65535, 256]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "x.png")
    np.testing.assert_array_equal(images.read_image(tmp_path / "x.png").pixels, deep)


def test_other_colours_become_luma(tmp_path):
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[..., 0] = 255
    Image.fromarray(colours).save(tmp_path / "x.png")
    assert np.unique(images.read_image(tmp_path / "x.png").pixels).tolist() == [76]


@pytest.mark.parametrize("values", [(0, 1), (0, 255)])
def test_masks_of_ones_and_of_255_are_the_same(tmp_path, values):
    Image.fromarray(np.array([[values[0], values[1]]], np.uint8)).save(tmp_path / "m.png")
    assert images.read_mask(tmp_path / "m.png").tolist() == [[False, True]]
    Image.fromarray(np.zeros((1, 2), np.uint8)).save(tmp_path / "m.png")
    assert images.read_mask(tmp_path / "m.png").tolist() == [[False, False]]
