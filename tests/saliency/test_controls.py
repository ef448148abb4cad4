"""Controls: each looks where it says, and none can see a scored mask."""

import numpy as np
import pytest
from PIL import Image

from btjax.saliency import controls, scores


@pytest.fixture
def disc():
    """uint8 [1, 48, 48]: background of 4, a disc of 120 of radius 15 around (24, 20) with a dark hole, a far speck."""
    rows, columns = np.mgrid[:48, :48]
    image = np.full((48, 48), 4, np.uint8)
    inside = np.hypot(rows - 24, columns - 20) <= 15
    image[inside] = 120
    image[22:26, 18:22] = 4
    image[44:47, 44:47] = 250
    return image[None], inside


def test_noise_is_uniform_and_repeats_with_its_seed():
    noise = controls.uniform_noise(3, 32, seed=1)
    assert noise.dtype == np.float32 and noise.shape == (3, 32, 32)
    assert noise.min() >= 0 and noise.max() < 1 and abs(noise.mean() - 0.5) < 0.02
    np.testing.assert_array_equal(noise, controls.uniform_noise(3, 32, seed=1))
    assert (noise != controls.uniform_noise(3, 32, seed=2)).any()


def test_the_gaussian_is_centred_with_the_stated_width():
    maps = controls.centre_gaussian(2, 65, sigma=0.2)
    assert maps.shape == (2, 65, 65) and maps[0, 32, 32] == 1
    np.testing.assert_allclose(maps, maps[:, ::-1, ::-1], rtol=1e-6)
    assert maps[1, 32, 32 + 13] == pytest.approx(np.exp(-0.5), rel=1e-5)
    assert maps[1, 32 + 13, 32 + 13] == pytest.approx(np.exp(-1), rel=1e-5)


def test_intensity_is_the_image():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    np.testing.assert_allclose(controls.intensity(images), images / np.float32(255))


def test_edges_lie_on_the_step_and_nothing_leaks_between_slices():
    images = np.zeros((3, 16, 16), np.uint8)
    images[1, :, 8:] = 255
    maps = controls.edges(images)
    assert not maps[0].any() and not maps[2].any()
    assert (maps[1, :, 7:9] > 0.3).all()
    assert not maps[1, :, :7].any() and not maps[1, :, 9:].any()


def test_the_head_is_the_large_bright_component_without_holes(disc):
    images, inside = disc
    found = controls.head(images)[0]
    assert found.dtype == np.float32
    # Opening may take single pixels from the rim.
    assert (found[~inside] == 0).all()
    assert found[inside].mean() > 0.99 and (found[22:26, 18:22] == 1).all()


def test_an_empty_slice_is_all_head():
    images = np.zeros((2, 16, 16), np.uint8)
    images[1, 3, 3] = 9
    assert (controls.head(images) == 1).all()


def test_the_class_mean_mask_is_the_mean_over_training_rows_of_that_class():
    train_masks = np.zeros((3, 4, 4), bool)
    train_masks[0, 0, 0] = train_masks[1, 0, :2] = train_masks[2, 3, 3] = True
    maps = controls.class_mean_mask(np.array([2, 0, 0]), train_masks, np.array([0, 0, 2]))
    assert maps.dtype == np.float32
    np.testing.assert_array_equal(maps[0], train_masks[2])
    np.testing.assert_array_equal(maps[1], maps[2])
    np.testing.assert_array_equal(maps[1, 0], [1, 0.5, 0, 0])
    with pytest.raises(ValueError, match="class 1 has no training rows"):
        controls.class_mean_mask(np.array([1]), train_masks, np.array([0, 0, 2]))


def test_every_control_can_be_scored(disc):
    images, inside = disc
    maps = controls.control_maps(images, np.array([1]), inside[None], np.array([1]), seed=0)
    for name, control in maps.items():
        assert control.shape == images.shape and control.dtype == np.float32 and control.min() >= 0, name
        assert np.isfinite(list(scores.score_maps(control, inside[None], area_share=0.1).values())).all(), name
    assert scores.roc_auc(maps["class_mean_mask"], inside[None]) == [1]


@pytest.mark.real
def test_real_heads_hold_the_tumour(real_slices_dir):
    for name in ("1", "1500", "2233"):
        files = [next((real_slices_dir / part).glob(f"{name}.*")) for part in ("images", "masks")]
        image, mask = (np.asarray(Image.open(file).convert("L").resize((128, 128))) for file in files)
        found = controls.head(image[None])[0]
        assert 0.2 < found.mean() < 0.9
        assert found[mask > 127].mean() > 0.95
