"""Masks: labels, colours, transparency, soft edges; what does not look like a mask is refused."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from btjax.base.errors import InputError
from btjax.readers.masks import read_mask
from tests.readers import forms


def disc(size=64, row=26, column=36, radius=11):
    y, x = np.mgrid[:size, :size]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


TUMOUR, CORE = disc(), disc(radius=6)
RINGS = np.where(disc(radius=3), 3, np.where(CORE, 2, TUMOUR.astype(int)))
"""Int [64, 64]: labels 1, 2, 3 from the rim to the core."""


def head():
    """Uint8 [64, 64]: a smooth head with a bright tumour, as a slice looks."""
    y, x = np.mgrid[:64, :64]
    texture = np.random.default_rng(0).integers(0, 40, (64, 64))
    inside = ((y - 32) / 28) ** 2 + ((x - 32) / 22) ** 2 < 1
    return np.where(TUMOUR, 230, np.where(inside, 80 + texture, 0)).astype(np.uint8)


def refusal(path):
    with pytest.raises(InputError) as caught:
        read_mask(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize(
    "levels", [(1, 1, 1), (1, 2, 4), (4, 2, 1), (1, 2, 3), (10, 20, 30), (85, 170, 255), (255, 170, 85), (50, 255, 100)]
)
def test_every_label_but_zero_is_tumour(tmp_path, levels, dtype):
    stored = np.array((0, *levels))[RINGS].astype(dtype)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.tif", stored)), TUMOUR)


def test_small_labels_count_in_single_pixels_too(tmp_path):
    stored = np.array([[0, 0, 0, 0], [0, 1, 4, 0], [0, 2, 0, 0]], np.uint8)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", stored)), stored > 0)


@pytest.mark.parametrize("top", [1, 255])
def test_a_mask_of_one_level_may_be_scattered(tmp_path, top):
    scattered = np.random.default_rng(0).random((20, 30)) < 0.2
    scattered[0, 0] = False
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", scattered.astype(np.uint8) * top)), scattered)


def test_a_mask_of_one_bit_is_itself(tmp_path):
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", TUMOUR)), TUMOUR)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_an_empty_mask_is_empty_in_every_mode(tmp_path, mode):
    Image.new(mode, (8, 6)).save(tmp_path / "m.png")
    found = read_mask(tmp_path / "m.png")
    assert found.shape == (6, 8) and found.dtype == bool and not found.any()


@pytest.mark.parametrize(
    "colours",
    [
        ((255, 0, 0), (0, 0, 255), (0, 255, 0)),
        ((0, 0, 128), (255, 0, 0), (0, 64, 0)),
        ((128, 0, 0), (0, 128, 0), (128, 128, 0)),
        ((255, 255, 255), (255, 255, 255), (255, 255, 255)),
    ],
)
@pytest.mark.parametrize("name", ["m.png", "m.bmp"])
def test_regions_of_every_colour_are_tumour(tmp_path, colours, name):
    stored = np.array([(0, 0, 0), *colours], np.uint8)[RINGS]
    np.testing.assert_array_equal(read_mask(save(tmp_path / name, stored)), TUMOUR)


def test_bright_colours_survive_jpeg(tmp_path):
    stored = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255), (255, 0, 0)], np.uint8)[RINGS]
    save(tmp_path / "m.jpg", stored, quality=90, subsampling=0)
    assert np.count_nonzero(read_mask(tmp_path / "m.jpg") ^ TUMOUR) < 30


@pytest.mark.parametrize(
    "palette",
    [
        [0, 0, 0, 128, 0, 0, 0, 128, 0, 0, 0, 128],
        [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3],
        [0] * 12,
        [255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 0],
    ],
    ids=["colours", "greys", "black alone", "on white"],
)
def test_of_a_palette_every_entry_but_the_first_is_tumour(tmp_path, palette):
    image = Image.frombytes("P", (64, 64), RINGS.astype(np.uint8).tobytes())
    image.putpalette(palette)
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), TUMOUR)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 0, 0)])
def test_a_mask_drawn_on_a_transparent_picture(tmp_path, colour):
    stored = np.zeros((64, 64, 4), np.uint8)
    stored[TUMOUR] = (*colour, 255)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", stored)), TUMOUR)
    stored[..., :3] = colour
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", stored)), TUMOUR)


def test_a_mask_whose_content_is_fully_transparent_is_refused(tmp_path):
    stored = np.zeros((64, 64, 4), np.uint8)
    stored[TUMOUR, 0] = 255
    assert "transparent" in refusal(save(tmp_path / "m.png", stored))


@pytest.mark.parametrize("quality", [30, 50, 75, 95, 98, 100])
def test_the_ringing_of_jpeg_is_left_out(tmp_path, quality):
    save(tmp_path / "m.jpg", TUMOUR.astype(np.uint8) * 255, quality=quality)
    assert np.count_nonzero(read_mask(tmp_path / "m.jpg") ^ TUMOUR) <= 12


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_an_antialiased_mask_is_cut_at_half(tmp_path, factor):
    fine = disc(64 * factor, 26 * factor, 36 * factor, 11 * factor)
    share = fine.reshape(64, factor, 64, factor).mean(axis=(1, 3))
    found = read_mask(save(tmp_path / "m.png", np.rint(share * 255).astype(np.uint8)))
    np.testing.assert_array_equal(found, np.rint(share * 255) > 127.5)


def test_an_enlarged_mask_is_cut_at_half(tmp_path):
    small = Image.fromarray(TUMOUR.astype(np.uint8) * 255)
    large = small.resize((256, 256), Image.Resampling.BICUBIC)
    large.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), np.asarray(large) > 127.5)


@pytest.mark.parametrize("name", ["m.png", "m.jpg"])
def test_a_slice_given_as_a_mask_is_refused(tmp_path, name):
    assert "many grey levels" in refusal(save(tmp_path / name, head()))
    tiny = forms.make_slices(1)[0].image
    assert "many grey levels" in refusal(save(tmp_path / name, tiny))


@pytest.mark.parametrize("gain", [0.3, 1])
def test_a_slice_with_the_tumour_painted_over_is_refused(tmp_path, gain):
    colours = np.stack([(head() * gain).astype(np.uint8)] * 3, axis=-1)
    colours[TUMOUR] = (255, 0, 0)
    assert "many grey levels" in refusal(save(tmp_path / "m.png", colours))


def test_a_slice_with_the_tumour_outlined_is_refused(tmp_path):
    image = Image.fromarray(np.stack([head()] * 3, axis=-1))
    ImageDraw.Draw(image).ellipse((25, 15, 47, 37), outline=(255, 255, 0))
    image.save(tmp_path / "m.png")
    assert "many grey levels" in refusal(tmp_path / "m.png")


@pytest.mark.parametrize("top", [1, 255])
def test_an_inverted_mask_is_refused(tmp_path, top):
    assert "looks inverted" in refusal(save(tmp_path / "m.png", (~TUMOUR).astype(np.uint8) * top))
    assert "looks inverted" in refusal(save(tmp_path / "m.png", np.full((8, 8), top, np.uint8)))


def test_a_background_that_has_a_label_is_refused(tmp_path):
    assert "looks inverted" in refusal(save(tmp_path / "m.png", TUMOUR.astype(np.uint8) + np.uint8(1)))


def test_a_tumour_may_touch_the_border(tmp_path):
    mask = disc(row=0, column=0, radius=20)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", mask)), mask)


def test_negative_labels_and_nan_are_refused(tmp_path):
    assert "negative" in refusal(save(tmp_path / "m.tif", TUMOUR.astype(np.int32) - 1))
    assert "NaN" in refusal(save(tmp_path / "m.tif", np.where(TUMOUR, np.nan, 0).astype(np.float32)))


def test_a_mask_of_another_size_than_its_image_is_refused_by_name(tmp_path):
    folder = forms.write_manifest(tmp_path / "set", forms.make_slices(3))
    Image.fromarray(TUMOUR).save(folder / "masks" / "2.png")
    forms.assert_refused(folder, str(folder / "masks" / "2.png"), "(64, 64)")
