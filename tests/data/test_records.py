"""Slices whose pixels stay in the prepared copy."""

import os

import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.base.rows import LazyRows
from btjax.data import builder
from btjax.data.builder import load
from btjax.data.dataset import DataConfig, load_data
from btjax.data.notes import slices_notes
from btjax.data.records import RecordsLost
from tests.readers import forms


@pytest.fixture
def folder(tmp_path):
    return forms.write_manifest(tmp_path / "data", forms.make_slices(40))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("btjax.data.prepared._SHARD_BYTES", 7 * 16 * 16)  # seven slices a file
    return tmp_path / "cache"


def shards(cache):
    return sorted((cache / "brain_tumours").glob("*/*/*.array_record-*"))


@pytest.mark.parametrize("image_size", [16, 13])
def test_streamed_slices_are_the_resident_ones(folder, cache, image_size):
    whole, streamed = (load(folder, image_size, cache, stream=stream) for stream in (False, True))
    assert isinstance(streamed.images, LazyRows) and isinstance(streamed.masks, LazyRows)
    for name, values in whole.fields().items():
        np.testing.assert_array_equal(np.asarray(streamed.fields()[name]), values, err_msg=name)
        assert streamed.fields()[name].dtype == values.dtype, name
    assert streamed.fingerprint == whole.fingerprint and streamed.masks_fingerprint == whole.masks_fingerprint
    assert slices_notes(streamed) == slices_notes(whole)
    rows = np.array([39, 0, 7, 6])
    np.testing.assert_array_equal(streamed.take(rows).images[:], whole.images[rows])
    np.testing.assert_array_equal(streamed.masks[rows], whole.masks[rows])


def test_rows_may_be_asked_for_in_any_order_across_files(folder, cache):
    whole, streamed = (load(folder, 16, cache, stream=stream) for stream in (False, True))
    assert len(shards(cache)) == 6
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(streamed.images[order], whole.images[order])


def test_slices_are_streamed_by_themselves_where_they_would_take_more_than_half_of_the_memory(
    folder, cache, monkeypatch
):
    pixels = 3 * 40 * 16 * 16  # images as they were read and on the device, and masks
    monkeypatch.setattr(builder, "machine_memory", lambda: 2 * pixels)
    assert isinstance(load(folder, 16, cache, stream=None).images, np.ndarray)
    monkeypatch.setattr(builder, "machine_memory", lambda: 2 * pixels - 1)
    assert isinstance(load(folder, 16, cache, stream=None).images, LazyRows)
    assert isinstance(load(folder, 16, cache).images, np.ndarray)


def damage_by_touching(path):
    os.utime(path, (1, 1))


def damage_by_cutting_off(path):
    os.truncate(path, path.stat().st_size // 2)


def damage_by_removing(path):
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (damage_by_touching, "changed while it was read"),
        (damage_by_cutting_off, "changed while it was read"),
        (damage_by_removing, "No such file"),
    ],
)
def test_a_file_that_changes_under_the_stream_is_named_and_other_files_are_still_read(folder, cache, damage, told):
    streamed = load(folder, 16, cache, stream=True)
    path = shards(cache)[2]
    damage(path)
    with pytest.raises(RecordsLost, match=told) as caught:
        streamed.images[np.array([0, 15])]
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and "expected" in str(caught.value)
    assert streamed.images[np.array([0, 1, 39])].shape == (3, 16, 16)


@pytest.mark.parametrize("damage", [damage_by_cutting_off, damage_by_removing])
def test_a_copy_that_was_cut_off_before_is_named_when_it_is_opened(folder, cache, damage):
    load(folder, 16, cache, stream=True)
    damage(shards(cache)[2])
    with pytest.raises(InputError) as caught:
        load(folder, 16, cache, stream=True)
    assert str(shards(cache)[0].parent) in str(caught.value) and "\n" not in str(caught.value)


def test_a_record_whose_bytes_changed_is_no_slice(folder, cache):
    load(folder, 16, cache, stream=True)
    path = shards(cache)[2]
    content = bytearray(path.read_bytes())
    written = np.flatnonzero(np.frombuffer(bytes(content), np.uint8))  # the files are filled up with zeros
    content[written[len(written) // 2]] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load(folder, 16, cache, stream=True).images[:]
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_synthetic_heads_are_not_streamed():
    with pytest.raises(InputError, match="--stream: synthetic heads are made in memory"):
        load_data(DataConfig(data_dir="phantom", image_size=32), stream=True)
