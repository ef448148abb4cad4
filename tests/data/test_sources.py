"""Raw slices to `Slices`, and finding the form of a folder."""

import dataclasses
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from btjax.base.errors import InputError
from btjax.data.builder import load
from btjax.data.contents import contents_fingerprint
from btjax.data.sources import find_source
from btjax.readers import raw
from btjax.readers.raw import RawSlice
from btjax.readers.slices import CLASSES
from tests.readers import forms
from tests.readers.forms import assemble

WRITERS = {
    "mat": forms.write_mat_folder,
    "zips": forms.write_zips,
    "kaggle": forms.write_kaggle,
    "classes": forms.write_classes,
    "manifest": forms.write_manifest,
}

grey_images = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def one(image, **fields) -> RawSlice:
    """A raw slice of an image."""
    return RawSlice(**({"image": image, "label": 0, "id": "1", "where": "file"} | fields))


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("image_size", [8, 32, 48])
def test_every_form_gives_the_same_slices(tmp_path, form, image_size):
    tiny = forms.make_slices(12)
    source = find_source(WRITERS[form](tmp_path / form, tiny))
    slices = assemble(source.read(), image_size)
    reference = assemble(find_source(forms.write_manifest(tmp_path / "reference", tiny)).read(), image_size)
    fields = slices.fields()
    remarks = set(fields.pop("remarks", ()))
    assert remarks == ({"colour map viridis undone"} if form == "kaggle" else set())
    always = {"images", "labels", "ids", "sizes"}
    known = {"mat": {"patients", "masks", "folds"}, "manifest": {"patients", "masks", "folds", "planes"}}
    assert set(fields) == always | (known | {"zips": known["mat"]}).get(form, set())
    for name, values in fields.items():
        # Two pairs of values share a colour in viridis, so the Kaggle form is exact to one grey level.
        tolerance = 2 if (form, name) == ("kaggle", "images") else 0
        if tolerance:
            assert np.abs(values.astype(int) - reference.images).max() <= tolerance
        else:
            np.testing.assert_array_equal(values, reference.fields()[name], err_msg=name)
        assert values.dtype == reference.fields()[name].dtype


@pytest.mark.parametrize("form", WRITERS)
def test_rows_are_in_numeric_order_of_ids(tmp_path, form):
    source = find_source(WRITERS[form](tmp_path, forms.make_slices(12)))
    assert [name for name, _ in source.entries] == [str(number) for number in range(1, 13)]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("mat", "loose MATLAB v7.3 files (6 slices)"),
        ("zips", "figshare zips of MATLAB v7.3 files (2 zips, 6 slices)"),
        ("kaggle", "class folders of images (6 slices: 2 meningioma, 2 glioma, 2 pituitary)"),
        ("manifest", "images with manifest.csv (6 slices, folds, masks, patients, planes)"),
    ],
)
def test_the_form_is_described(tmp_path, form, words):
    assert find_source(WRITERS[form](tmp_path, forms.make_slices(6))).description == words


@pytest.mark.parametrize("form", WRITERS)
def test_the_fingerprint_follows_names_and_bytes_but_neither_place_nor_time(tmp_path, form):
    folder, cache = WRITERS[form](tmp_path / "data", forms.make_slices(6)), tmp_path / "cache"
    cache.mkdir()

    def fingerprint(place):
        return contents_fingerprint(find_source(place), cache)

    before = fingerprint(folder)
    path = next(path for path in find_source(folder).files if path.name not in ("cvind.mat", "manifest.csv"))
    status, held = path.stat(), path.read_bytes()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    assert fingerprint(folder) == before
    changed = held[:-1] + bytes([held[-1] ^ 1])
    if path.suffix != ".zip":  # a zip whose last byte is wrong is refused
        path.write_bytes(changed)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert fingerprint(folder) != before
        path.write_bytes(held)
    assert fingerprint(folder) == before
    assert fingerprint(folder.rename(tmp_path / "moved")) == before


def test_a_label_that_was_corrected_is_seen_under_the_same_size_and_time(tmp_path):
    folder = forms.write_manifest(tmp_path / "data", forms.make_slices(6))
    table = folder / "manifest.csv"
    before, status = load(folder, 8, tmp_path / "cache"), table.stat()
    rows = table.read_text().splitlines()
    assert rows[1].split(",")[:2] == ["1", "1"]
    table.write_text("\n".join([rows[0], rows[1].replace("1,1", "1,2", 1), *rows[2:]]) + "\n")
    os.utime(table, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = load(folder, 8, tmp_path / "cache")
    assert before.labels[0] == 0
    assert after.labels[0] == 1


def test_figshares_forms_have_the_papers_classes_even_where_one_is_absent(tmp_path):
    tiny = [dataclasses.replace(slice_, label=slice_.label // 2 * 2) for slice_ in forms.make_slices(9)]
    for form in ("mat", "zips", "kaggle", "manifest"):
        source = find_source(WRITERS[form](tmp_path / form, tiny))
        assert source.classes == CLASSES
        assert [raw.label for raw in source.read()] == [slice_.label for slice_ in tiny]
        assert "label" in source.known


def refusal(folder) -> str:
    with pytest.raises(InputError) as caught:
        find_source(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_a_folder_in_no_known_form_is_refused_with_what_it_holds(tmp_path):
    assert "no such folder" in refusal(tmp_path / "absent")
    empty = refusal(tmp_path)
    assert "empty folder" in empty
    for form in ("zips", "N.mat", "meningioma", "manifest.csv"):
        assert form in empty
    (tmp_path / "scan.dcm").write_bytes(b"")
    assert "scan.dcm" in refusal(tmp_path)
    assert "found a file" in refusal(tmp_path / "scan.dcm")


@given(grey_images, st.integers(1, 128))
def test_a_gain_does_not_change_a_byte(image, gain):
    wide = image.astype(np.int16) * np.int16(gain)
    np.testing.assert_array_equal(raw.scale_to_uint8(wide), raw.scale_to_uint8(image))
    np.testing.assert_array_equal(raw.scale_to_uint8(wide.astype(np.float64)), raw.scale_to_uint8(image))


@given(grey_images)
def test_scaling_spans_the_bytes_and_is_idempotent(image):
    scaled = raw.scale_to_uint8(image)
    assert scaled.dtype == np.uint8
    assert scaled.min() == 0
    assert scaled.max() == (0 if image.min() == image.max() else 255)
    np.testing.assert_array_equal(raw.scale_to_uint8(scaled), scaled)


def test_scaling_rounds_and_does_not_overflow():
    image = np.array([[-32768, 0, 32767]], np.int16)
    assert raw.scale_to_uint8(image).tolist() == [[0, 128, 255]]
    assert raw.scale_to_uint8(np.array([[0, 1, 3]], np.uint16)).tolist() == [[0, 85, 255]]
    assert raw.scale_to_uint8(np.full((2, 2), 9, np.int16)).tolist() == [[0, 0], [0, 0]]


@given(grey_images)
def test_the_percentile_range_is_that_of_an_independent_formula(image):
    from skimage.exposure import rescale_intensity

    low, high = np.percentile(image, [1, 99])
    if low == high:
        expected = raw.scale_to_uint8(image)
    else:
        expected = np.rint(rescale_intensity(image.astype(np.float64), (low, high), (0, 255))).astype(np.uint8)
    np.testing.assert_array_equal(raw.scale_to_uint8(image, intensity_range="percentile"), expected)


def test_the_percentile_range_clips_what_is_beyond_it_and_counts_the_background():
    image = np.zeros((100, 100), np.int16)
    image[:30] = np.arange(1, 3001).reshape(30, 100)  # a background of 70 %
    image[0, 0], image[29, 99] = -500, 30000
    scaled = raw.scale_to_uint8(image, intensity_range="percentile")
    high = np.percentile(image, 99)
    assert high == pytest.approx(2900, abs=2) and np.percentile(image, 1) == 0
    assert scaled[0, 0] == 0 and (scaled[30:] == 0).all()
    assert (scaled == 255).sum() == (image >= high * 254.5 / 255).sum() > 100
    assert scaled[10, 0] == round(1001 / high * 255)
    assert raw.scale_to_uint8(image)[10, 0] == round(1501 / 30500 * 255)


def test_a_slice_whose_percentiles_coincide_is_scaled_by_minimum_and_maximum():
    image = np.zeros((64, 64), np.uint16)
    image[0, :5] = [10, 20, 30, 40, 50]
    scaled = raw.scale_to_uint8(image, intensity_range="percentile")
    assert scaled[0, :6].tolist() == [51, 102, 153, 204, 255, 0]
    blank = np.full((8, 8), 7, np.uint16)
    assert not raw.scale_to_uint8(blank, intensity_range="percentile").any()


def test_images_are_resized_with_antialiasing():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    expected = np.asarray(Image.fromarray(image).resize((4, 4), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(raw.resize_image(image, 4), expected)
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(raw.resize_image(stripes, 16)[:, 2:-2].astype(int)) < 20


def test_images_that_are_not_square_are_padded_with_zeros():
    padded = raw.pad_to_square(np.full((2, 5), 7))
    assert padded.shape == (5, 5)
    assert padded[1:3].tolist() == [[7] * 5] * 2
    assert padded.sum() == 70
    slices = assemble([one(np.arange(8, dtype=np.uint8).reshape(4, 2), mask=np.ones((4, 2), bool))], 4)
    assert slices.masks[0].tolist() == [[False, True, True, False]] * 4
    assert slices.sizes.tolist() == [[4, 2]]


def test_a_mask_pixel_is_in_when_half_of_it_is():
    mask = np.zeros((4, 4), bool)
    mask[0, :2] = mask[2, 2] = True
    assert raw.resize_mask(mask, 2).tolist() == [[True, False], [False, False]]


@given(hnp.arrays(bool, (16, 16)), st.sampled_from([1, 3, 4, 16, 24]))
def test_a_mask_becomes_empty_only_if_it_was(mask, size):
    resized = raw.resize_mask(mask, size)
    assert resized.dtype == bool
    assert resized.any() == mask.any()


def test_the_most_covered_pixel_of_a_tiny_mask_is_kept():
    mask = np.zeros((16, 16), bool)
    mask[4, 5] = mask[9, 12] = mask[10, 13] = True
    assert np.argwhere(raw.resize_mask(mask, 4)).tolist() == [[2, 3]]


def test_images_without_pixels_or_numbers_are_refused():
    for image in (np.zeros((0, 4)), np.zeros((2, 2, 3)), np.array([["a"]]), np.array([[1j, 2]])):
        with pytest.raises(InputError, match="file"):
            assemble([one(image)], 4)


def test_a_field_that_only_some_slices_have_is_refused():
    image = np.eye(4, dtype=np.uint8)
    with pytest.raises(InputError, match="patient"):
        assemble([one(image, patient="7"), one(image, id="2")], 4)
    with pytest.raises(InputError, match="twice"):
        assemble([one(image), one(image)], 4)
    with pytest.raises(InputError, match="no slices"):
        assemble([], 4)


@pytest.mark.parametrize("size", [0, -1, 5000])
def test_an_image_size_that_is_none_is_refused(size):
    with pytest.raises(InputError, match="image_size"):
        assemble([one(np.eye(4))], size)


def test_ids_sort_as_numbers_only_if_all_are():
    assert raw.id_order(["10", "9", "1"]) == [2, 1, 0]
    assert raw.id_order(["10", "9", "a"]) == [0, 1, 2]


def test_work_on_several_threads_keeps_the_order_and_hands_on_errors():
    assert list(raw.in_order(lambda item: item * 2, range(100), threads=3)) == list(range(0, 200, 2))
    with pytest.raises(ZeroDivisionError):
        list(raw.in_order(lambda item: 1 / item, [1, 0, 2], threads=2))
