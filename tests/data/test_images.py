"""Image files as grey slices: transparency, palettes, margins, and pictures that are no slices."""

import matplotlib
import numpy as np
import pytest
from PIL import Image

from btjax.base.errors import InputError
from btjax.data import images
from btjax.data.images import MARGINS, TRANSPARENT, Picture, read_image
from tests.data import forms

GREY = forms.make_slices(1)[0].image


def viridis(grey):
    """Uint8 [H, W] -> uint8 [H, W, 3]."""
    return matplotlib.colormaps["viridis"](grey, bytes=True)[..., :3]


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def refusal(path):
    with pytest.raises(InputError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_grey_files_of_every_mode_give_the_same_pixels_without_a_remark(tmp_path, mode):
    Image.fromarray(GREY).convert(mode).save(tmp_path / "x.png")
    found = read_image(tmp_path / "x.png")
    np.testing.assert_array_equal(found.pixels, GREY)
    assert found.pixels.dtype == np.uint8 and found.remarks == ()


def test_a_picture_is_frozen():
    with pytest.raises(AttributeError):
        setattr(Picture(GREY), "remarks", ("x",))  # noqa: B010


def test_viridis_with_an_opaque_alpha_is_undone(tmp_path):
    grey = np.array([[0, 200], [255, 30]], np.uint8)
    found = read_image(save(tmp_path / "x.png", matplotlib.colormaps["viridis"](grey, bytes=True)))
    np.testing.assert_array_equal(found.pixels, grey)
    assert found.remarks == ("colour map viridis undone",)


def test_transparent_parts_are_black_whatever_lies_under_them(tmp_path):
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[:8] = 0
    stored = np.stack([np.where(alpha, GREY, 255)] * 3 + [alpha], axis=-1).astype(np.uint8)
    for bands, name in ((stored, "rgba.png"), (stored[..., 2:], "la.png"), (stored, "rgba.tif")):
        found = read_image(save(tmp_path / name, np.ascontiguousarray(bands)))
        np.testing.assert_array_equal(found.pixels, np.where(alpha, GREY, 0))
        assert found.remarks == (TRANSPARENT,)


def test_half_transparent_pixels_are_composed_on_black(tmp_path):
    stored = np.stack([GREY, np.full(GREY.shape, 128, np.uint8)], axis=-1)
    found = read_image(save(tmp_path / "x.png", stored))
    np.testing.assert_array_equal(found.pixels, np.rint(GREY * (128 / 255)))


def test_a_transparent_background_does_not_hide_a_colour_map(tmp_path):
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[:, :7] = 0
    colours = np.concatenate([viridis(GREY), alpha[..., None]], axis=-1)
    colours[alpha == 0] = 0
    found = read_image(save(tmp_path / "x.png", colours))
    np.testing.assert_array_equal(viridis(found.pixels), viridis(np.where(alpha, GREY, 0).astype(np.uint8)))
    assert found.remarks[0] == "colour map viridis undone"


def test_a_transparent_entry_of_a_palette_and_a_transparent_level_are_black(tmp_path):
    image = Image.fromarray(GREY)
    keyed = np.where(GREY[3, 3] == GREY, 0, GREY)
    image.save(tmp_path / "level.png", transparency=int(GREY[3, 3]))
    image.convert("P").save(tmp_path / "entry.png", transparency=int(GREY[3, 3]))
    image.convert("RGB").save(tmp_path / "colour.png", transparency=(int(GREY[3, 3]),) * 3)
    for name in ("level.png", "entry.png", "colour.png"):
        found = read_image(tmp_path / name)
        np.testing.assert_array_equal(found.pixels, keyed)
        assert found.remarks == (TRANSPARENT,)


@pytest.mark.parametrize("bands", [2, 4])
def test_a_fully_transparent_image_is_refused(tmp_path, bands):
    stored = np.stack([GREY] * bands, axis=-1)
    stored[..., -1] = 0
    assert "transparent" in refusal(save(tmp_path / "x.png", stored))


def test_a_palette_in_any_order_gives_its_greys(tmp_path):
    order = np.random.default_rng(0).permutation(256).astype(np.uint8)
    image = Image.frombytes("P", GREY.shape, np.argsort(order).astype(np.uint8)[GREY].tobytes())
    image.putpalette(np.repeat(order, 3).tolist())
    image.save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png").pixels, GREY)


def test_colour_maps_in_deep_colours_are_undone_and_other_deep_colours_are_luma(tmp_path):
    import tifffile

    deep = viridis(GREY).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "x.tif", deep, photometric="rgb")
    assert read_image(tmp_path / "x.tif").remarks == ("colour map viridis undone",)
    deep = np.random.default_rng(0).integers(0, 65536, (8, 8, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", deep, photometric="rgb")
    found = read_image(tmp_path / "x.tif")
    np.testing.assert_allclose(found.pixels, deep @ [0.299, 0.587, 0.114])
    assert found.remarks == ("colours taken as luma",)


@pytest.mark.parametrize("shade", [255, 240])
@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
def test_white_margins_get_a_remark(tmp_path, name, shade):
    framed = np.pad(GREY, 9, constant_values=shade)
    assert read_image(save(tmp_path / name, framed)).remarks == (MARGINS,)
    assert read_image(save(tmp_path / name, np.pad(GREY, ((9, 9), (9, 0)), constant_values=shade))).remarks == ()


def test_figures_with_axes_and_colour_bars_get_a_remark(tmp_path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for colours in ("gray", "jet", "hot", "viridis"):
        figure = Figure(figsize=(3, 3), dpi=60)
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        figure.colorbar(axes.imshow(GREY, cmap=colours))
        figure.savefig(tmp_path / "x.png")
        assert MARGINS in read_image(tmp_path / "x.png").remarks, colours


@pytest.mark.parametrize("level", [0, 7, 255])
@pytest.mark.parametrize("side", [2, 64])
def test_a_blank_picture_is_no_slice(tmp_path, level, side):
    assert "blank" in refusal(save(tmp_path / "x.png", np.full((side, side), level, np.uint8)))


def test_a_picture_of_two_levels_is_no_slice(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[20:30, 31:45] = 255
    assert "two grey levels only: looks like a mask" in refusal(save(tmp_path / "x.png", mask))
    assert "looks like a mask" in refusal(save(tmp_path / "x.png", mask == 255))
    assert "looks like a mask" in refusal(save(tmp_path / "x.tif", mask.astype(np.float32)))
    red = np.stack([mask, 0 * mask, 0 * mask], axis=-1)
    assert "looks like a mask" in refusal(save(tmp_path / "x.png", red))
    mask[22:25, 33:36] = 100
    assert "three grey levels only" in refusal(save(tmp_path / "x.png", mask))


@pytest.mark.parametrize("quality", [60, 90])
def test_a_mask_saved_with_loss_is_no_slice(tmp_path, quality):
    mask = np.zeros((96, 96), np.uint8)
    mask[24:48, 40:64] = 255
    assert "looks like a mask" in refusal(save(tmp_path / "x.jpg", mask, quality=quality))


def test_a_slice_with_few_bright_pixels_is_a_slice(tmp_path):
    dark = np.minimum(forms.make_slices(1, size=64)[0].image, 40)
    dark[5, 5] = 255
    np.testing.assert_array_equal(read_image(save(tmp_path / "x.png", dark)).pixels, dark)


@pytest.mark.parametrize("suffix", images.IMAGE_SUFFIXES)
def test_suffixes_of_images_are_lower_case_and_single(suffix):
    assert suffix == suffix.lower() and suffix.count(".") == 1
    assert images.IMAGE_SUFFIXES.count(suffix) == 1
