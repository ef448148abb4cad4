"""A config's slices."""

import dataclasses

import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.base.options import from_dict
from btjax.data import raw
from btjax.data.dataset import DataConfig, load_data
from tests.data import forms


def test_a_split_takes_the_runs_seed_unless_it_has_its_own():
    assert from_dict(DataConfig, {}, "config.json").split_seed == -1
    assert from_dict(DataConfig, {"split_seed": 0}, "config.json").split_seed == 0
    with pytest.raises(InputError, match="split_seed is -2, expected at least -1"):
        from_dict(DataConfig, {"split_seed": -2}, "config.json")


def test_configs_of_before_say_how_their_slices_were_prepared():
    config = from_dict(DataConfig, {"image_size": 64}, "config.json")
    assert (config.intensity_range, config.head_mask) == ("minmax", False)
    with pytest.raises(InputError, match="intensity_range is 'max', expected one of minmax, percentile"):
        from_dict(DataConfig, {"intensity_range": "max"}, "config.json")


@pytest.mark.parametrize("form", ["folder", "phantom"])
def test_the_options_of_preparing_reach_every_form(form, tmp_path):
    tiny = forms.make_slices(3)
    folder = forms.write_manifest(tmp_path / "data", tiny)
    own = {"phantom_patients": 1, "phantom_slices": 1} if form == "phantom" else {}
    plain = DataConfig("phantom" if form == "phantom" else str(folder), 32, **own)
    changed = dataclasses.replace(plain, intensity_range="percentile", head_mask=True)
    before, after = (load_data(config, str(tmp_path / "cache")).slices for config in (plain, changed))
    images = before.images if form == "phantom" else [slice_.image for slice_ in tiny[:2]]  # the third is smaller
    expected = [raw.scale_slice(image, "", "percentile", True) for image in images]
    np.testing.assert_array_equal(after.images[: len(images)], expected)
    assert (after.images != before.images).any()
    assert after.fingerprint != before.fingerprint
    np.testing.assert_array_equal(after.masks, before.masks)


def test_slices_come_from_a_folder_with_its_form_or_are_synthetic(tmp_path):
    folder = forms.write_classes(tmp_path / "data", forms.make_slices(3), ("a", "b", "a"))
    data = load_data(DataConfig(str(folder), 32), str(tmp_path / "cache"))
    assert data.slices.classes == ("a", "b")
    assert data.form == "class folders of images (3 slices: 2 a, 1 b)"
    data = load_data(DataConfig("phantom", 32, phantom_patients=1, phantom_slices=1))
    assert len(data.slices) == 3
    assert "phantom" in data.form
    with pytest.raises(InputError, match="--data_dir is missing"):
        load_data(DataConfig())
