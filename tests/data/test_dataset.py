"""A config's slices."""

import pytest

from btjax.base.errors import InputError
from btjax.base.options import from_dict
from btjax.data.dataset import DataConfig, load_data
from tests.data import forms


def test_a_split_takes_the_runs_seed_unless_it_has_its_own():
    assert from_dict(DataConfig, {}, "config.json").split_seed == -1
    assert from_dict(DataConfig, {"split_seed": 0}, "config.json").split_seed == 0
    with pytest.raises(InputError, match="split_seed is -2, expected at least -1"):
        from_dict(DataConfig, {"split_seed": -2}, "config.json")


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
