"""NIfTI volumes as data folders: orientation, planes, masks, and what is ignored or refused."""

import gzip
import itertools

import numpy as np
import pytest

pytest.importorskip("nibabel", reason="needs nibabel, of the extra `medical`")

import nibabel
from nibabel import orientations

from btjax.base.errors import InputError
from btjax.data.builder import load
from btjax.data.sources import find_source
from btjax.readers import nifti
from btjax.readers.medical import MedicalOptions
from tests.readers.medical_forms import AXIAL, head, mri_folder, refusal_of, write_dicom, write_nifti

PLANES = ("axial", "coronal", "sagittal")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("BTJAX_CACHE", str(tmp_path_factory.mktemp("cache")))


def source_of(folder, plane="axial"):
    return find_source(folder, labelled=False, options=MedicalOptions(plane=plane))


def read(folder, plane="axial"):
    return list(source_of(folder, plane).read())


def refusal(folder, plane="axial") -> str:
    with pytest.raises(InputError) as caught:
        read(folder, plane)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def by_hand(voxels, plane):
    """Pictures of a volume whose axes lead to right, anterior, superior (RAS+), written out."""
    if plane == "axial":
        return [np.array([row[::-1] for row in voxels[:, ::-1, z].T]) for z in range(voxels.shape[2])]
    if plane == "coronal":
        return [np.array([row[::-1] for row in voxels[:, y, ::-1].T]) for y in reversed(range(voxels.shape[1]))]
    return [np.array([row[::-1] for row in voxels[x, :, ::-1].T]) for x in range(voxels.shape[0])]


@pytest.mark.parametrize("plane", PLANES)
def test_every_storage_order_gives_the_same_pictures(tmp_path, plane):
    voxels, affine = head((4, 5, 6)), np.diag([2.0, 2.0, 2.0, 1.0])
    expected = by_hand(voxels, plane)
    count = 0
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            turn = np.array([order, flips]).T.astype(float)
            stored = orientations.apply_orientation(voxels, turn)
            path = write_nifti(tmp_path / "x.nii", stored, affine @ orientations.inv_ornt_aff(turn, voxels.shape))
            volume = nifti.read_volume(path, plane)
            np.testing.assert_array_equal(volume.voxels, expected)
            count += 1
    assert count == 48


@pytest.mark.parametrize("plane", PLANES)
def test_the_edges_of_a_picture_are_where_the_affine_puts_them(tmp_path, plane):
    """Voxels that hold their own place in the patient, from nibabel's affine: nothing of btjax is asked."""
    affine = nibabel.affines.from_matvec([[0, 0, -2], [2, 0, 0.1], [0.1, 2, 0]], [30, -20, 10])
    index = np.stack(np.meshgrid(*map(np.arange, (5, 6, 7)), indexing="ij"), -1)
    x, y, z = np.moveaxis(nibabel.affines.apply_affine(affine, index), -1, 0)
    pictures = []
    for place in (x, y, z):
        pictures.append(
            nifti.read_volume(write_nifti(tmp_path / "x.nii", place.astype(np.float32), affine), plane).voxels
        )
    x, y, z = pictures
    last = np.s_[:, :, -1], np.s_[:, :, 0]
    if plane == "sagittal":
        assert (y[last[1]] > y[last[0]]).all()  # anterior on the left
    else:
        assert (x[last[1]] > x[last[0]]).all()  # the patient's right on the left
    up = y if plane == "axial" else z
    assert (up[:, 0] > up[:, -1]).all()  # anterior, or superior, above
    across = {"axial": z, "coronal": -y, "sagittal": x}[plane]
    assert (np.diff(across, axis=0) > 0).all()


def test_a_slice_has_the_same_picture_as_dicom_and_as_nifti(tmp_path):
    """RAS+ voxels written as DICOM by the standard's own words: rows to the left, columns to the back."""
    voxels = head((6, 7, 3))
    write_nifti(tmp_path / "nifti" / "x.nii", voxels)
    for z in range(3):
        image = voxels[::-1, ::-1, z].T.copy()
        position = {"ImagePositionPatient": [0, 0, z], "ImageOrientationPatient": list(AXIAL)}
        write_dicom(tmp_path / "dicom" / f"{9 - z}", image, **position)
    for one, other in zip(read(tmp_path / "nifti"), read(tmp_path / "dicom"), strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.plane == other.plane == "axial"


def test_the_template_has_plain_nibabels_voxels(tmp_path):
    path = next(mri_folder().glob("*.nii.gz"))
    (tmp_path / path.name).symlink_to(path)
    image = nibabel.load(path)
    assert nibabel.aff2axcodes(image.affine) == ("L", "A", "S")
    voxels = np.asarray(image.dataobj)
    for raw in read(tmp_path)[::10]:
        number = int(raw.id.rpartition("/")[2])
        np.testing.assert_array_equal(raw.image, voxels[:, ::-1, number - 1].T)  # L grows to the right already
    source = source_of(tmp_path, "sagittal")
    assert "cut sagittal" in source.description
    assert source.description != source_of(tmp_path).description  # which belongs to the key of the cache


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
def test_both_suffixes_are_read_and_ids_are_the_files_names(tmp_path, name):
    write_nifti(tmp_path / "p" / "a.nii", head((4, 5, 12)))
    data = (tmp_path / "p" / "a.nii").read_bytes()
    (tmp_path / "p" / "a.nii").unlink()
    (tmp_path / "p" / name).write_bytes(gzip.compress(data) if name.lower().endswith("gz") else data)
    ids = [raw.id for raw in read(tmp_path)]
    assert ids == [f"p/{name[0]}/{number:03}" for number in range(1, 13)]


def test_values_are_scaled_as_the_header_says_and_any_byte_order_is_read(tmp_path):
    voxels = head((4, 5, 3)).astype(np.float32) / 8 - 30
    image = nibabel.Nifti1Image(voxels, np.eye(4))
    image.set_data_dtype(np.int16)
    image.header.set_slope_inter(0.125, -30)
    nibabel.save(nibabel.Nifti1Image(image.dataobj, np.eye(4), image.header.as_byteswapped(">")), tmp_path / "x.nii")
    np.testing.assert_allclose(read(tmp_path)[0].image, by_hand(voxels, "axial")[0], atol=0.13)
    assert read(tmp_path)[0].image.dtype.isnative


def test_empty_slices_are_ignored_with_their_count_and_the_rest_keep_their_numbers(tmp_path):
    voxels = head((10, 10, 8))
    voxels[:, :, (0, 1, 7)] = np.random.default_rng(1).integers(0, 9, (10, 10, 3))
    write_nifti(tmp_path / "x.nii", voxels)
    source = source_of(tmp_path)
    assert [name for name, _ in source.entries] == [f"x/{number:03}" for number in range(3, 8)]
    assert source.notes == ("3 slices of NIfTI volumes ignored: they show no head",)
    assert source_of(tmp_path).notes == source.notes  # from the cache
    write_nifti(tmp_path / "x.nii", head((10, 10, 8)))
    assert len(source_of(tmp_path)) == 8


def test_voxels_that_are_not_cubes_give_square_pixels(tmp_path):
    write_nifti(tmp_path / "x.nii", head((8, 10, 5)), np.diag([1, 1, 3, 1]))
    assert read(tmp_path)[0].image.shape == (10, 8)
    source = source_of(tmp_path, "coronal")
    raw = next(iter(source.read()))
    assert raw.image.shape == (15, 8)
    assert raw.remarks == ("resampled to square pixels",)
    write_nifti(tmp_path / "x.nii", head((8, 10, 5)), np.diag([1, 1, 50, 1]))
    assert "x.nii: found the pixel spacing 50 x 1" in refusal(tmp_path, "coronal")


@pytest.mark.parametrize("word", ["seg", "mask", "label", "segmentation", "gt", "contours"])
def test_a_mask_beside_its_volume_is_its_mask_whatever_its_storage(tmp_path, word):
    voxels = head((6, 7, 5))
    outline = np.zeros(voxels.shape, np.uint8)
    outline[1:3, 2:6, 1:4] = 4
    write_nifti(tmp_path / "x.nii.gz", voxels)
    turned = nibabel.Nifti1Image(outline, np.eye(4)).as_reoriented(np.array([[0, -1], [2, 1], [1, -1]]))
    write_nifti(tmp_path / f"x_{word}.nii.gz", np.asarray(turned.dataobj), turned.affine)
    source = source_of(tmp_path)
    assert "mask" in source.known and len(source) == 5
    for raw, mask in zip(source.read(), by_hand(outline, "axial"), strict=True):
        np.testing.assert_array_equal(raw.mask, mask > 0)


def test_one_mask_serves_every_sequence_of_a_patient(tmp_path):
    for name in ("BraTS_001_t1ce", "BraTS_001_flair"):
        write_nifti(tmp_path / f"{name}.nii.gz", head((6, 7, 3)))
    outline = np.zeros((6, 7, 3), np.uint8)
    outline[2, 2, 1] = 1
    write_nifti(tmp_path / "BraTS_001_seg.nii.gz", outline)
    raws = read(tmp_path)
    assert [raw.mask.sum() for raw in raws] == [0, 1, 0] * 2
    assert len({raw.patient for raw in raws}) == 1


def test_a_mask_is_checked_once_for_all_slices_of_its_volume(tmp_path, monkeypatch):
    write_nifti(tmp_path / "x.nii", head((6, 7, 5)))
    tumour = np.zeros((6, 7, 5), np.uint8)
    tumour[2:4, 2:4] = 1
    write_nifti(tmp_path / "x_seg.nii", tumour)
    pairs, fitting = [], nifti._fitting
    monkeypatch.setattr(nifti, "_fitting", lambda load, pair: pairs.append(pair) or fitting(load, pair))
    assert len(read(tmp_path)) == 5
    assert pairs == [(tmp_path / "x.nii", tmp_path / "x_seg.nii")]


def test_masks_that_fit_no_volume_are_refused_and_never_slices(tmp_path):
    write_nifti(tmp_path / "x.nii", head((6, 7, 5)))
    mask = write_nifti(tmp_path / "x_seg.nii", np.eye(6, dtype=np.uint8)[..., None])
    assert "x_seg.nii: the mask is" in refusal(tmp_path)
    write_nifti(mask, np.ones((6, 7, 5), np.uint8), np.diag([1, 1, 2, 1]))
    assert "x_seg.nii: the mask lies elsewhere" in refusal(tmp_path)
    write_nifti(mask, np.full((6, 7, 5), 0.5, np.float32))
    assert "x_seg.nii: the mask holds fractions" in refusal(tmp_path)
    write_nifti(tmp_path / "x_mask.nii", np.ones((6, 7, 5), np.uint8))
    assert "second mask" in refusal(tmp_path)
    (tmp_path / "x_mask.nii").unlink()
    mask.rename(tmp_path / "y_seg.nii")
    assert "y_seg.nii: looks like a mask" in refusal(tmp_path)
    (tmp_path / "y_seg.nii").rename(tmp_path / "y.nii")
    write_nifti(tmp_path / "y.nii", (np.indices((6, 7, 5))[0] % 3 == 0).astype(np.uint8))
    assert "y.nii: holds 2 different values" in refusal(tmp_path)


@pytest.mark.parametrize("place", ["labelsTr", "masks", "derivatives/x"])
def test_a_folder_of_masks_or_of_derived_volumes_is_refused(tmp_path, place):
    write_nifti(tmp_path / "imagesTr" / "x.nii", head((6, 7, 5)))
    write_nifti(tmp_path / place / "x.nii", head((6, 7, 5)))
    assert f"{place}/x.nii: lies in a folder of masks" in refusal(tmp_path)


def test_masks_of_the_brain_and_masks_that_some_volumes_lack_are_ignored_in_words(tmp_path):
    for name in "xyz":
        write_nifti(tmp_path / f"{name}.nii", head((6, 7, 5)))
    write_nifti(tmp_path / "x_brain_mask.nii", np.ones((6, 7, 5), np.uint8))
    write_nifti(tmp_path / "y_seg.nii", np.ones((6, 7, 5), np.uint8))
    source = source_of(tmp_path)
    assert len(source) == 15 and "mask" not in source.known
    assert source.notes == (
        "1 NIfTI files ignored: masks of the brain",
        "1 NIfTI files ignored: masks, which only 1 volumes have",
    )


def test_several_volumes_in_a_file_are_refused_and_one_in_four_dimensions_is_read(tmp_path):
    write_nifti(tmp_path / "x.nii", head((4, 5, 6, 2)))
    assert "x.nii: found 4 x 5 x 6 x 2 voxels, expected one volume" in refusal(tmp_path)
    write_nifti(tmp_path / "x.nii", head((4, 5, 6, 1)))
    assert len(read(tmp_path)) == 6


def test_a_volume_that_does_not_tell_left_from_right_is_named(tmp_path):
    image = nibabel.Nifti1Image(head((4, 5, 6)), None)
    image.header["sform_code"] = image.header["qform_code"] = 0
    nibabel.save(image, tmp_path / "x.nii")
    assert "1 NIfTI volumes do not tell left from right: nibabel's assumption is taken" in source_of(tmp_path).notes


def test_nan_outside_the_head_is_read_as_the_lowest_value(tmp_path):
    voxels = head((6, 7, 3)).astype(np.float32)
    voxels[0] = np.nan
    write_nifti(tmp_path / "x.nii", voxels)
    assert read(tmp_path)[1].remarks == ("NaN read as the volume's lowest value",)
    assert read(tmp_path)[1].image[:, -1].tolist() == [np.nanmin(voxels)] * 7


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.98])
def test_a_file_that_is_cut_off_is_refused_by_name(tmp_path, suffix, share):
    path = write_nifti(tmp_path / f"broken{suffix}", head((20, 20, 5)))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert f"broken{suffix}" in refusal(tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_file_is_refused_by_name_or_read(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = write_nifti(tmp_path / "broken.nii", head((8, 8, 5)))
    data = bytearray(path.read_bytes())
    for place in rng.integers(0, 352, 12):
        data[place] = rng.integers(256)
    path.write_bytes(bytes(data))
    message = refusal_of(read, tmp_path)
    assert "\n" not in message and (not message or "broken.nii" in message)


def test_files_that_are_no_nifti_and_rgb_volumes_are_refused(tmp_path):
    (tmp_path / "x.nii").write_bytes(b"text" * 200)
    assert "x.nii" in refusal(tmp_path)
    colours = np.zeros((4, 4, 4), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    write_nifti(tmp_path / "x.nii", colours)
    assert "expected one real number" in refusal(tmp_path)


def test_patients_are_the_names_of_files_and_of_bids_subjects_under_a_pseudonym(tmp_path):
    names = (
        "sub-01/ses-1/sub-01_ses-1_T1w",
        "sub-01/ses-2/sub-01_ses-2_T2w",
        "sub-02/sub-02_T1w",
        "p9_t1",
        "a/T1",
        "b/T1",
    )
    for name in names:
        write_nifti(tmp_path / f"{name}.nii.gz", head((4, 5, 2)))
    patients = {raw.id.rpartition("/")[0]: raw.patient for raw in read(tmp_path)}
    assert len(set(patients.values())) == 5
    assert patients[names[0]] == patients[names[1]]
    assert not any("sub" in patient or "p9" in patient for patient in patients.values())


def test_a_folder_of_volumes_loads_and_loads_again(tmp_path):
    write_nifti(tmp_path / "data" / "x.nii.gz", head((12, 14, 5)))
    source = source_of(tmp_path / "data")
    first, second = load(source, 32), load(source, 32)
    assert first.images.shape == (5, 32, 32)
    assert first.sizes.tolist() == [[14, 12]] * 5
    np.testing.assert_array_equal(first.images, second.images)
    assert first.planes.tolist() == ["axial"] * 5
