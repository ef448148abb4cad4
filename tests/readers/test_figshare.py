"""MATLAB v7.3 files, loose and in zips."""

import zipfile

import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.data.sources import find_source
from btjax.readers import figshare
from tests.readers import forms
from tests.readers.forms import assemble, assert_refused, read_all


@pytest.mark.parametrize("write", [forms.write_mat_folder, forms.write_zips])
def test_every_field_is_read_upright(tmp_path, write):
    slices = forms.make_slices(12)
    raws = read_all(write(tmp_path, slices))
    assert [raw.id for raw in raws] == [str(number) for number in range(1, 13)]
    for raw, tiny in zip(raws, slices, strict=True):
        assert raw.image.dtype == np.int16
        np.testing.assert_array_equal(raw.image, tiny.image.astype(np.int16) * 7)
        np.testing.assert_array_equal(raw.mask, tiny.mask)
        assert raw.mask.dtype == bool
        assert (raw.label, raw.patient, raw.fold, raw.plane) == (tiny.label, tiny.patient, tiny.fold, None)


def test_slices_of_half_size_are_kept(tmp_path):
    raws = read_all(forms.write_mat_folder(tmp_path, forms.make_slices(4, size=32)))
    assert [raw.image.shape for raw in raws] == [(32, 32)] * 3 + [(16, 16)]
    slices = assemble(raws, 32)
    assert slices.images.shape == (4, 32, 32)
    assert slices.sizes.tolist() == [[32, 32]] * 3 + [[16, 16]]


@pytest.mark.parametrize("write", [forms.write_mat_folder, forms.write_zips])
def test_without_cvind_folds_are_unknown(tmp_path, write):
    slices = assemble(read_all(write(tmp_path, forms.make_slices(3), folds=False)), 16)
    assert slices.folds is None
    assert slices.patients is not None


def test_zips_unpacked_into_subfolders_read_like_loose_files(tmp_path):
    slices = forms.make_slices(5)
    flat = assemble(read_all(forms.write_mat_folder(tmp_path / "flat", slices)), 16)
    nested = assemble(read_all(forms.write_mat_folder(tmp_path / "nested", slices, nested=True)), 16)
    for name, values in flat.fields().items():
        np.testing.assert_array_equal(values, nested.fields()[name])


def test_reading_zips_writes_nothing_to_disk(tmp_path):
    folder = forms.write_zips(tmp_path, forms.make_slices(4))
    before = sorted(folder.rglob("*"))
    read_all(folder)
    assert sorted(folder.rglob("*")) == before


def test_zips_unpacked_beside_themselves_are_read_once(tmp_path):
    slices = forms.make_slices(4)
    forms.write_zips(tmp_path, slices)
    forms.write_mat_folder(tmp_path / "unpacked", slices, folds=False)
    source = find_source(tmp_path)
    assert len(source) == 4
    assert "zips" in source.description


def test_a_loose_slice_that_no_zip_holds_is_not_dropped(tmp_path):
    slices = forms.make_slices(4)
    forms.write_zips(tmp_path, slices[:3])
    (tmp_path / "4.mat").write_bytes(forms.mat_bytes(slices[3]))
    assert_refused(tmp_path, "4.mat", "none of the zips")


def test_cvind_is_found_inside_a_zip(tmp_path):
    slices = forms.make_slices(3)
    forms.write_zips(tmp_path, slices, names=("all.zip",), folds=False)
    with zipfile.ZipFile(tmp_path / "all.zip", "a") as archive:
        archive.writestr("data/cvind.mat", forms.cvind_bytes([5, 4, 3]))
    assert [raw.fold for raw in read_all(tmp_path)] == [5, 4, 3]


@pytest.mark.parametrize(
    ("replaced", "word"),
    [
        ({"label": np.full((1, 1), 4.0)}, "label 4.0"),
        ({"label": np.full((1, 1), 1.5)}, "label 1.5"),
        ({"label": np.full((1, 1), np.nan)}, "label nan"),
        ({"label": np.ones((1, 2))}, "label"),
        ({"label": None}, "cjdata/label"),
        ({"PID": None}, "cjdata/PID"),
        ({"PID": np.zeros((0, 0), np.uint16)}, "PID"),
        ({"PID": np.array([[7], [9]], np.uint16)}, "PID"),
        ({"image": None}, "cjdata/image"),
        ({"image": np.zeros((2, 2, 2), np.int16)}, "two dimensions"),
        ({"image": np.zeros((16, 32), np.int16)}, "shape"),
        ({"tumorMask": None}, "cjdata/tumorMask"),
        ({"tumorMask": np.zeros((4, 4), np.uint8)}, "shape"),
    ],
)
def test_a_bad_field_is_named(tmp_path, replaced, word):
    slices = forms.make_slices(3)
    forms.write_mat_folder(tmp_path, slices)
    (tmp_path / "2.mat").write_bytes(forms.mat_bytes(slices[1], **replaced))
    assert_refused(tmp_path, "2.mat", word)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_refused(tmp_path, value):
    image = np.ones((32, 32), np.float32)
    image[3, 4] = value
    tiny = forms.make_slices(3)[0]
    (tmp_path / "1.mat").write_bytes(forms.mat_bytes(tiny, image=image))
    with pytest.raises(InputError, match=r"1\.mat.*NaN or infinity"):
        assemble(read_all(tmp_path), 16)


@pytest.mark.parametrize("data", [b"", b"not a mat file", b"MATLAB 5.0 MAT-file".ljust(600)])
def test_a_file_that_is_no_hdf5_is_named(tmp_path, data):
    forms.write_mat_folder(tmp_path, forms.make_slices(3))
    (tmp_path / "3.mat").write_bytes(data)
    assert_refused(tmp_path, "3.mat", "MATLAB v7.3")


def test_a_truncated_mat_file_is_named(tmp_path):
    forms.write_mat_folder(tmp_path, forms.make_slices(3))
    whole = (tmp_path / "2.mat").read_bytes()
    (tmp_path / "2.mat").write_bytes(whole[: len(whole) // 2])
    assert_refused(tmp_path, "2.mat")


def test_cvind_renamed_to_a_number_is_refused(tmp_path):
    forms.write_mat_folder(tmp_path, forms.make_slices(3))
    (tmp_path / "4.mat").write_bytes((tmp_path / "cvind.mat").read_bytes())
    assert_refused(tmp_path, "4.mat", "cjdata")


def test_a_mat_file_without_a_number_is_refused(tmp_path):
    forms.write_mat_folder(tmp_path, forms.make_slices(3))
    (tmp_path / "brain.mat").write_bytes(b"")
    assert_refused(tmp_path, "brain.mat", "N.mat")


def test_a_slice_that_is_there_twice_is_refused(tmp_path):
    slices = forms.make_slices(3)
    forms.write_mat_folder(tmp_path, slices)
    forms.write_mat_folder(tmp_path / "copy", slices[:1], folds=False)
    assert_refused(tmp_path, "has the number of")


@pytest.mark.parametrize("folds", [[1, 2], [1, 2, 0], [1, 2, 2.5]])
def test_folds_that_do_not_fit_are_refused(tmp_path, folds):
    forms.write_mat_folder(tmp_path, forms.make_slices(3))
    (tmp_path / "cvind.mat").write_bytes(forms.cvind_bytes(folds))
    assert_refused(tmp_path, "cvind")


@pytest.mark.parametrize("name", ["../1.mat", "/1.mat", "a/../../1.mat", "..\\1.mat", "C:\\1.mat"])
def test_an_unsafe_path_in_a_zip_is_refused(tmp_path, name):
    forms.write_zips(tmp_path, forms.make_slices(2), names=("a.zip",))
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr(name, b"")
    assert_refused(tmp_path, "a.zip", "unsafe path")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_zip_is_named(tmp_path, share):
    forms.write_zips(tmp_path, forms.make_slices(4))
    whole = (tmp_path / "b.zip").read_bytes()
    (tmp_path / "b.zip").write_bytes(whole[: int(len(whole) * share)])
    assert_refused(tmp_path, "b.zip", "not a complete zip")


def test_a_damaged_byte_in_a_zip_is_noticed(tmp_path):
    forms.write_zips(tmp_path, forms.make_slices(2), names=("a.zip",))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[len(data) // 4] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(data)
    assert_refused(tmp_path, "a.zip", "cannot read 1.mat")


def test_the_same_slice_in_two_zips_is_refused(tmp_path):
    slices = forms.make_slices(3)
    forms.write_zips(tmp_path, slices, names=("a.zip",))
    forms.write_zips(tmp_path, slices[1:2], names=("b.zip",))
    assert_refused(tmp_path, "b.zip", "2.mat")


def test_a_zip_of_zips_is_explained(tmp_path):
    with zipfile.ZipFile(tmp_path / "1512427.zip", "w") as archive:
        archive.writestr("brainTumorDataPublic_1-766.zip", b"")
    assert_refused(tmp_path, "1512427.zip", "another zip")


def small_published(monkeypatch):
    """Published names with three slices each."""
    ranges = {"one.zip": (1, 3), "two.zip": (4, 6), "three.zip": (7, 9)}
    monkeypatch.setattr(figshare, "PUBLISHED_ZIPS", ranges)
    return list(ranges)


def test_a_missing_published_zip_is_named(tmp_path, monkeypatch):
    names = small_published(monkeypatch)
    forms.write_zips(tmp_path, forms.make_slices(9), names=names)
    assert len(find_source(tmp_path)) == 9
    (tmp_path / "two.zip").unlink()
    assert_refused(tmp_path, "missing two.zip")


def test_a_selection_of_slices_under_a_published_name_is_read(tmp_path, monkeypatch):
    names = small_published(monkeypatch)
    forms.write_zips(tmp_path, forms.make_slices(2), names=names[:1])
    assert len(find_source(tmp_path)) == 2


def test_macos_files_in_zips_and_folders_are_passed_over(tmp_path):
    forms.write_zips(tmp_path, forms.make_slices(3), names=("a.zip",))
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr("__MACOSX/._1.mat", b"junk")
    (tmp_path / "._a.zip").write_bytes(b"junk")
    assert len(read_all(tmp_path)) == 3
